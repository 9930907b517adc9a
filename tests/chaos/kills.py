"""Callers of every kind at twice capacity, while workers and HTTP processes are killed at random."""

from __future__ import annotations

import asyncio
import random
import time

from batching.queue import Queue
from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, tokens_of
from tests.chaos.report import Report
from tests.processes.service import Service, ask, scorers

SECONDS_PER_TOKEN, WORKERS = 0.0004, 2
CAPACITY = WORKERS / SECONDS_PER_TOKEN
"""Tokens a second."""
KINDS = {
    callers.good: 0.5, callers.large: 0.05, callers.hurried: 0.1, callers.bad: 0.15, callers.huge: 0.03, callers.slow: 0.02, callers.leaving: 0.15
}  # fmt: skip
SHADE_S = 2.0
"""How long after a kill goodput may be lower: a process comes back."""

LONG_S = 60.0


def rate() -> float:
    """Arrivals a second that ask for twice what the workers can do."""
    share = {10: KINDS[callers.good] + KINDS[callers.hurried], 100: KINDS[callers.large] + KINDS[callers.slow] + KINDS[callers.leaving] / 2}
    return 2 * CAPACITY / sum(part * tokens_of(documents) for documents, part in share.items())


class Killer:
    """Kills a random process every few seconds, and remembers when."""

    def __init__(self, service: Service, seed: int, every_s: float) -> None:
        self._service, self._dice, self._every_s = service, random.Random(seed), every_s
        self.kills: list[tuple[float, str]] = []
        self._task = asyncio.ensure_future(self._kill())

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5) * self._every_s)
            name = self._dice.choice(["worker", "worker", "http process"])
            found = self._service.workers() if name == "worker" else self._service.http_processes()
            if found:
                self._dice.choice(found).kill()
                self.kills.append((time.monotonic(), name))

    def stop(self) -> None:
        self._task.cancel()

    def near(self, moment: float, name: str = "", before_s: float = SHADE_S) -> bool:
        """Whether a process (of this kind) was killed shortly before."""
        return any(0.0 <= moment - when <= before_s and name in kind for when, kind in self.kills)


def goodput(tally: Tally, began: float, ended: float, killer: Killer | None) -> float:
    """Right answers in a second, where no process was killed just before."""
    steps = [began + 0.25 * step for step in range(int((ended - began) * 4))]
    clear = [step for step in steps if not (killer and (killer.near(step) or killer.near(step + 0.25)))]
    answers = sum(any(step <= when < step + 0.25 for step in clear) for _, when, _ in tally.right)
    return answers / (0.25 * len(clear)) if clear else float("nan")


def left(service: Service) -> str:
    """What is still in use in the queue; empty when nothing is."""
    assert service.runtime
    queue = Queue(service.runtime / "0")
    try:
        reserved = [arena.reserved_tokens for arena in queue.arenas]
        return f"{queue!r} {reserved}" if any(arena.states.any() for arena in queue.arenas) or any(reserved) else ""
    finally:
        queue.close()


def run(seconds: float, seed: int = 0, every_s: float = 3.0) -> Report:
    """A third of the time undisturbed, then kills."""
    report = Report(f"kills: {seconds:.0f} s at twice capacity, a SIGKILL about every {every_s:.0f} s")
    calm, storm, pulse = Tally(), Tally(), Pulse()

    async def main(service: Service) -> None:
        pulse.__enter__()
        began = time.monotonic()
        await arrive(service.address, calm, KINDS, rate(), seconds / 3, seed)
        usual = goodput(calm, began + 1.0, began + seconds / 3, None)
        killer = Killer(service, seed, every_s)
        began = time.monotonic()
        await arrive(service.address, storm, KINDS, rate(), seconds * 2 / 3, seed + 1)
        between = goodput(storm, began + 1.0, began + seconds * 2 / 3, killer)
        killer.stop()
        names = [name for _, name in killer.kills]
        report.tell("killed", f"{names.count('worker')} workers, {names.count('http process')} HTTP processes")
        report.tell("calls", sum(storm.outcomes.values()) + len(storm.closed))
        report.tell("answers by status", _by_status(storm))
        report.must("wrong answers", len(calm.wrong) + len(storm.wrong), "0", not calm.wrong + storm.wrong)
        report.must("never answered", calm.unanswered + storm.unanswered, "0", not calm.unanswered + storm.unanswered)
        unexplained = len(calm.closed) + sum(not killer.near(moment, "http") for moment in storm.closed)
        report.must("connections closed by no kill", unexplained, "0", not unexplained)
        report.tell("right answers a second, undisturbed", usual)
        if seconds < LONG_S:  # a few seconds between kills say nothing
            report.tell("the same between kills, in parts", between / usual)
        else:
            report.timed("the same between kills, in parts", between / usual, ">= 0.8", between / usual >= 0.8)
        pulse.__exit__(None, None, None)

    with Service(
        scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN), workers=2, queue_tokens=30_000, request_timeout=15, log_level="error"
    ) as service:
        asyncio.run(main(service))
        back_s = service.until(lambda: len(service.workers()) == WORKERS and len(service.http_processes()) == 2 and service.is_ready())
        report.timed("all processes back and ready after, s", back_s, "<= 10", back_s <= 10)
        service.until(lambda: not left(service), 20.0)
        report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
        answer = asyncio.run(ask(service.address, body=callers.requests(10, 50)[0].body))
        report.must("answer afterwards", "right", "right", callers.requests(10, 50)[0].is_right(answer))
        code = service.stop()
        report.must(
            "exit code of the stop, files left", f"{code}, {len(service.left_behind())}", "0, 0", code == 0 and not service.left_behind()
        )
    report.stood_still(pulse.longest_s)
    for wrong in (calm.wrong + storm.wrong)[:5]:
        report.tell("wrong", wrong)
    return report


def _by_status(tally: Tally) -> str:
    statuses: dict[str, int] = {}
    for outcome, count in tally.outcomes.items():
        status = outcome.rpartition(" ")[2]
        statuses[status] = statuses.get(status, 0) + count
    closed = {"closed": len(tally.closed)} if tally.closed else {}
    return ", ".join(f"{status}: {count}" for status, count in sorted((statuses | closed).items()))

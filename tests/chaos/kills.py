"""Callers of every kind at twice capacity, while workers and HTTP processes are killed at random."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from batching.queue import Queue
from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, by_status, tokens_of
from tests.chaos.report import Report
from tests.processes.service import Service, ask, scorers

SECONDS_PER_TOKEN, WORKERS = 0.0004, 2
CAPACITY = WORKERS / SECONDS_PER_TOKEN
"""Tokens a second."""
KINDS = {
    callers.good: 0.5, callers.large: 0.05, callers.hurried: 0.1, callers.bad: 0.15, callers.huge: 0.03, callers.slow: 0.02, callers.leaving: 0.15
}  # fmt: skip
SHADE_S = 1.0
"""How long after a kill goodput may be lower: it is detected, and a process comes back."""
CLOSING_S = 2.0
"""How long after the kill of its process a caller may learn of it: slow readers have a part of their answer."""
CALM_S = 120.0
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

    def near(self, moment: float) -> bool:
        """Whether a process was killed shortly before."""
        return any(0.0 <= moment - when <= SHADE_S for when, _ in self.kills)

    def explains(self, began: float, closed: float) -> bool:
        """Whether a call was on its way to an HTTP process when one was killed, and was closed soon after that."""
        return any("http" in name and began <= when + 0.05 and 0.0 <= closed - when <= CLOSING_S for when, name in self.kills)


def goodput(tally: Tally, began: float, ended: float, killer: Killer | None) -> float:
    """Right answers in a second; with a killer only where no process was killed just before."""
    steps = [began + 0.25 * step for step in range(int((ended - began) * 4))]
    clear = [step for step in steps if not (killer and (killer.near(step) or killer.near(step + 0.25)))]
    counts = Counter(int((when - began) * 4) for _, when, _ in tally.right)
    return sum(counts[round((step - began) * 4)] for step in clear) / (0.25 * len(clear)) if clear else float("nan")


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
    """Undisturbed for a third as long before (two minutes at most), then so many seconds of kills."""
    calm_s = min(CALM_S, seconds / 3)
    report = Report(f"kills: {seconds:.0f} s at twice capacity, a SIGKILL about every {every_s:.0f} s; {calm_s:.0f} s without before that")
    calm, storm, pulse = Tally((429, 504)), Tally(callers.OVERLOAD), Pulse()

    async def main(service: Service) -> None:
        with pulse:
            began = time.monotonic()
            await arrive(service.address, calm, KINDS, rate(), calm_s, seed)
            usual = goodput(calm, began + 1.0, began + calm_s, None)
            killer = Killer(service, seed, every_s)
            began = time.monotonic()
            await arrive(service.address, storm, KINDS, rate(), seconds, seed + 1)
            killer.stop()
        _tell(report, calm, storm, killer)
        between, whole = (goodput(storm, began + 1.0, began + seconds, one) for one in (killer, None))
        _tell_goodput(report, usual, between, whole, long=seconds >= LONG_S)
        report.raw["kills, s"] = [(round(when - began, 3), name) for when, name in killer.kills]
        report.raw["right answers, s"] = [round(when - began, 3) for _, when, _ in storm.right]

    with Service(
        scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN), workers=2, queue_tokens=30_000, request_timeout=15, log_level="error"
    ) as service:
        asyncio.run(main(service))
        _tell_end(report, service)
    report.stood_still(pulse.longest_s)
    return report


def _tell(report: Report, calm: Tally, storm: Tally, killer: Killer) -> None:
    names = [name for _, name in killer.kills]
    report.tell("killed", f"{names.count('worker')} workers, {names.count('http process')} HTTP processes")
    report.tell("calls, without and with kills", f"{sum(calm.outcomes.values()):,}, {sum(storm.outcomes.values()) + len(storm.closed):,}")
    report.tell("answers by status, without kills", by_status(calm))
    report.tell("answers by status, with kills", by_status(storm))
    if not_sent := calm.not_sent + storm.not_sent:
        report.tell("callers who found too many others there and did not ask", not_sent)
    report.must("wrong answers", len(calm.wrong) + len(storm.wrong), "0", not calm.wrong + storm.wrong)
    report.must("never answered", calm.unanswered + storm.unanswered, "0", not calm.unanswered + storm.unanswered)
    unexplained = len(calm.closed) + sum(not killer.explains(*times) for times in storm.closed)
    report.must("closed without an answer, but not by the kill of an HTTP process under them", unexplained, "0", not unexplained)
    for wrong in (calm.wrong + storm.wrong)[:5]:
        report.tell("wrong", wrong)


def _tell_goodput(report: Report, usual: float, between: float, whole: float, *, long: bool) -> None:
    report.tell("right answers a second, undisturbed", usual)
    usual = usual or float("nan")  # a machine so slow that nobody was answered in the first seconds
    report.tell("with kills, all the time, in parts of that", whole / usual)
    what = f"with kills, but for {SHADE_S:.0f} s after each, in parts of that"
    if long:
        report.timed(what, between / usual, ">= 0.8", between / usual >= 0.8)
    else:  # a few seconds between kills say nothing
        report.tell(what, between / usual)


def _tell_end(report: Report, service: Service) -> None:
    back_s = service.until(lambda: len(service.workers()) == WORKERS and len(service.http_processes()) == 2 and service.is_ready(), 30.0)
    report.timed("all processes back and ready after, s", back_s, "<= 10", back_s <= 10)
    service.until(lambda: not left(service), 20.0)
    report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
    known = callers.requests(10, 50)[0]
    answer = asyncio.run(ask(service.address, body=known.body))
    right = answer.status == 200 and known.is_right(answer)
    report.must("answer afterwards", "right" if right else answer.body[:200], "right", right)
    code = service.stop()
    report.must("exit code of the stop, files left", f"{code}, {len(service.left_behind())}", "0, 0", code == 0 and not service.left_behind())  # fmt: skip

"""The soak with the starter model instead of fake scorers: what torch holds on to counts too. Answers are compared with those of a quiet service."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from typing import NamedTuple

from tests.chaos import callers
from tests.chaos.callers import Kind, Known, Pulse, Tally, arrive
from tests.chaos.kills import left
from tests.chaos.report import Report, p99
from tests.chaos.soak import LOAD, WARM_UP_S, busy_s
from tests.chaos.watch import Watch
from tests.live import free_port
from tests.processes.http import Answer
from tests.processes.service import Service, ask

TOLERANCE = 1e-4
"""Company moves a float32 score by less."""
SLICE_S, FIRST_RATE = 20.0, 2.0


class Near(NamedTuple):
    """A request and the scores that it had when it was alone, by index."""

    body: bytes
    scores: list[float]

    def is_right(self, answer: Answer) -> bool:
        """Whether every document has its score, best first."""
        found = [(one["index"], one["relevance_score"]) for one in answer.json["results"]]
        near = all(abs(score - self.scores[index]) <= TOLERANCE for index, score in found)
        ordered = all(one >= other for (_, one), (_, other) in itertools.pairwise(found))
        return near and ordered and sorted(index for index, _ in found) == list(range(len(self.scores)))


async def alone(address: str, known: Known) -> Near:
    """Ask while nobody else does."""
    answer = await ask(address, body=known.body)
    scores = {one["index"]: one["relevance_score"] for one in answer.json["results"]}
    return Near(known.body, [scores[index] for index in range(len(scores))])


def asks(kind: str, known: list[Near], **more: float) -> Kind:
    """Callers of one kind."""

    async def one(address: str, tally: Tally, dice: random.Random) -> None:
        chosen = dice.choice(known)
        await callers.call(address, tally, kind, chosen, chosen.body, tally.allowed, more.get("pause_s", 0.0))

    return one


async def keep_busy(service: Service, tally: Tally, kinds: dict[Kind, float], seconds: float, seed: int) -> None:
    """Let callers come so often that the worker scores for `LOAD` of the time; how fast it is shows from slice to slice."""
    rate, until = FIRST_RATE, time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        began, before_s = time.monotonic(), busy_s(service)
        await arrive(service.address, tally, kinds, rate, min(SLICE_S, left_s), seed)
        share = (busy_s(service) - before_s) / (time.monotonic() - began)
        rate, seed = rate * min(1.5, max(0.67, LOAD / max(share, 0.01))), seed + 1


def run(seconds: float, seed: int = 0) -> Report:
    """Keep the worker at it for 80 % of so long."""
    report = Report(f"soak of the starter model: {seconds / 60:.1f} minutes, its worker busy for {LOAD:.0%} of them")
    tally, pulse = Tally((429, 504)), Pulse()

    async def main(service: Service) -> None:
        few = [await alone(service.address, one) for one in callers.requests(10, 50)]
        many = [await alone(service.address, one) for one in callers.requests(100, 20)[:5]]
        kinds = {asks("good", few): 0.8, asks("large", many): 0.02, asks("slow", many, pause_s=0.2): 0.01, callers.bad: 0.1, callers.huge: 0.02, callers.leaving: 0.05}  # fmt: skip
        watch, began, before_s = Watch(service), time.monotonic(), busy_s(service)
        with pulse:
            await keep_busy(service, tally, kinds, seconds, seed)
        took = time.monotonic() - began
        watch.stop()
        watch.tell(report, WARM_UP_S)
        report.tell("calls, right answers a second", f"{sum(tally.outcomes.values()):,}, {len(tally.right) / took:.1f}")
        report.tell("of its time the worker scored", f"{(busy_s(service) - before_s) / took:.0%}")
        report.tell("p99 of good requests, s", p99(tally.seconds("good")))
        tally.tell(report)

    port = free_port()
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--model",
        "starter",
        "--port",
        str(port),
        "--runtime-dir",
        "{base}",
        "--replicas",
        "1",
    ]
    with Service(command=[*command, "--workers", "2", "--log-level", "warning"], port=port, wait=False) as service:
        service.until(service.is_ready, 180.0)
        asyncio.run(main(service))
        service.until(lambda: not left(service), 30.0)
        report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
        report.must("processes that ended", service.log().count("ended with"), "0", not service.log().count("ended with"))
    report.stood_still(pulse.longest_s)
    return report

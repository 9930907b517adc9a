"""Small requests beside ones of a thousand documents that keep the queue full: how long they wait, and how long they would, first come first served."""

from __future__ import annotations

import asyncio
import random
from functools import partial

from tests.chaos import callers
from tests.chaos.callers import Kind, Pulse, Tally, arrive, requests, tokens_of
from tests.chaos.report import Report, p99
from tests.processes.service import Service

SECONDS_PER_TOKEN = 0.00005
CAPACITY = 1 / SECONDS_PER_TOKEN
LARGE, SMALL = 1000, 4
SMALL_SHARE = 0.1
"""Of the work that can be done."""
ALWAYS = 6
"""Large requests that are there all the time: as many as fill the queue."""


async def many(address: str, tally: Tally, dice: random.Random) -> None:
    """A request of a thousand documents."""
    known = dice.choice(requests(LARGE, 6))
    await callers.call(address, tally, "large", known, known.body, tally.allowed)


async def keep_full(address: str, tally: Tally, stop: asyncio.Event) -> None:
    """Ask for a thousand documents again and again."""
    dice = random.Random(id(stop))
    while not stop.is_set():
        await many(address, tally, dice)
        if not tally.right:
            await asyncio.sleep(0.2)


few: Kind = partial(callers.good, documents=SMALL, kind="small")


def small_p99(factory: str, seconds: float, *, half: bool, report: Report, pauses: list[float]) -> float:
    """The p99 of small requests, in seconds, with the queue full of large ones, or at half load of the same mixture."""
    tally, pulse = Tally(), Pulse()
    rate = SMALL_SHARE * CAPACITY / tokens_of(SMALL)

    async def main(service: Service) -> None:
        with pulse:
            if half:
                large_rate = (0.5 - SMALL_SHARE / 2) * CAPACITY / requests(LARGE, 6)[0].tokens
                kinds = {few: rate / 2, many: large_rate}
                await arrive(service.address, tally, kinds, rate / 2 + large_rate, seconds)
                return
            stop = asyncio.Event()
            background = [asyncio.ensure_future(keep_full(service.address, tally, stop)) for _ in range(ALWAYS)]
            await asyncio.sleep(1.0)
            await arrive(service.address, tally, {few: 1.0}, rate, seconds)
            stop.set()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    queue_tokens = int(1.05 * ALWAYS * max(one.tokens for one in requests(LARGE, 6)))
    worker = [(f"{factory}:make", {"seconds_per_token": SECONDS_PER_TOKEN})]
    with Service(worker, queue_tokens=queue_tokens, token_budget=2048, request_timeout=60, log_level="error") as service:
        asyncio.run(main(service))
    name = "half load" if half else {"fakes": "full", "fifo": "full, first come first served"}[factory.rpartition(".")[2]]
    small, large = tally.seconds("small"), tally.seconds("large")
    report.tell(f"{name}: answered small ones, large ones", f"{len(small):,}, {len(large):,}")
    report.tell(f"{name}: refused small ones", tally.outcomes["small 429"])
    lost = len(tally.wrong) + tally.unanswered + len(tally.closed)
    report.must(f"{name}: wrong answers, or none", lost, "0", not lost)
    report.tell(f"{name}: p99 of how late the callers' own event loop was, s", p99(pulse.late))
    report.raw[f"{name}: small requests, answered at and seconds"] = [
        (round(when, 3), round(took, 4)) for kind, when, took in tally.right if kind == "small"
    ]
    report.raw[f"{name}: how late the callers' own event loop was, s"] = [round(late, 4) for late in pulse.late]
    pauses.append(pulse.longest_s)
    return p99(small)


def run(seconds: float) -> Report:
    """A third of the time each: at half load, full and fair, full and first come first served."""
    report = Report(f"fairness: requests of {SMALL} documents while {ALWAYS} of {LARGE} fill the queue, {seconds / 3:.0f} s each")
    pauses: list[float] = []
    usual = small_p99("tests.fakes", seconds / 3, half=True, report=report, pauses=pauses)
    fair = small_p99("tests.fakes", seconds / 3, half=False, report=report, pauses=pauses)
    fifo = small_p99("tests.chaos.fifo", seconds / 3, half=False, report=report, pauses=pauses)
    report.tell("p99 at half load of the same mixture, s", usual)
    report.timed("p99 with the queue full, s", fair, f"<= {3 * usual:.3f} (3 times)", fair <= 3 * usual)
    report.timed("p99 first come first served, s", fifo, f">= {5 * fair:.3f} (5 times fair)", fifo >= 5 * fair)
    report.stood_still(max(pauses))
    return report

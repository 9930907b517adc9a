"""Ten times more callers than the service can answer: those it accepts wait no longer than at capacity, the others are told at once."""

from __future__ import annotations

import asyncio
import time

from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, tokens_of
from tests.chaos.kills import left
from tests.chaos.report import Report, p99
from tests.chaos.soak import busy_s
from tests.chaos.watch import Watch
from tests.processes.service import Service, scorers

SECONDS_PER_TOKEN, WORKERS = 0.0005, 2
CAPACITY = WORKERS / SECONDS_PER_TOKEN
QUEUE_TOKENS = int(2 * CAPACITY)
"""Two seconds of work."""


def run(seconds: float, seed: int = 0) -> Report:
    """Half of the time at capacity, half at ten times that."""
    rate = CAPACITY / tokens_of(10)
    report = Report(f"overload: {seconds / 2:.0f} s at capacity ({rate:.0f} requests/s), then as long at ten times that")
    full, over, warm, pulse = Tally(), Tally(), Tally(), Pulse()

    async def main(service: Service) -> None:
        with pulse:
            await arrive(service.address, warm, {callers.good: 1.0}, 10 * rate, 5.0, seed, most=2000)
            await arrive(service.address, full, {callers.good: 1.0}, rate, seconds / 2, seed)
            watch, began, before_s = Watch(service), time.monotonic(), busy_s(service)
            await arrive(service.address, over, {callers.good: 1.0}, 10 * rate, seconds / 2, seed + 1, most=2000)
            took, worked_s = time.monotonic() - began, busy_s(service) - before_s
            watch.stop()
        report.tell("right answers a second at capacity, and over it", f"{len(full.right) / (seconds / 2):.1f}, {len(over.right) / took:.1f}")  # fmt: skip
        report.tell("of their time the workers scored, over capacity", f"{worked_s / took / WORKERS:.0%}")
        report.tell("accepted, refused over capacity", f"{len(over.right):,}, {len(over.refused):,}")
        _tell_times(report, full, over)
        report.tell("p99 of how late the callers' own event loop was, ms", 1e3 * p99(pulse.late))
        watch.tell(report, share=0.05)
        for name, tally in (("at capacity", full), ("over capacity", over)):
            report.tell(name, "")
            tally.tell(report)

    with Service(
        scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN), workers=2, queue_tokens=QUEUE_TOKENS, token_budget=512, log_level="error"
    ) as service:  # fmt: skip
        asyncio.run(main(service))
        service.until(lambda: not left(service), 20.0)
        report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
    report.stood_still(pulse.longest_s)
    return report


def _tell_times(report: Report, full: Tally, over: Tally) -> None:
    at_capacity, accepted = p99(full.seconds("good")), p99(over.seconds("good"))
    what = "p99 of accepted requests, s, against that at capacity"
    report.timed(what, f"{accepted:.3f}, {at_capacity:.3f}", "<= 2 times", accepted <= 2 * at_capacity)
    report.timed("p99 of a refusal, ms", 1e3 * p99(over.refused), "<= 20", p99(over.refused) <= 0.020)
    report.tell("the same by the service's own clock (Server-Timing)", 1e3 * p99(over.refused_inside))
    for name, tally in (("at capacity", full), ("over capacity", over)):
        report.raw[f"{name}: seconds of right answers"] = [round(took, 4) for took in tally.seconds("good")]
        report.raw[f"{name}: seconds of refusals"] = [round(took, 4) for took in tally.refused]

"""Ten times more callers than the service can answer: those it accepts wait no longer than at capacity, the others are told at once."""

from __future__ import annotations

import asyncio
import time

from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, tokens_of
from tests.chaos.kills import left
from tests.chaos.report import Report, p99
from tests.processes.service import Service, scorers

SECONDS_PER_TOKEN, WORKERS = 0.001, 2
CAPACITY = WORKERS / SECONDS_PER_TOKEN
QUEUE_TOKENS = int(2 * CAPACITY)
"""Two seconds of work."""


def memory(service: Service) -> float:
    """MB that all its processes have in memory."""
    return sum(process.memory_info().rss for process in service.processes()) / 1e6


def run(seconds: float, seed: int = 0) -> Report:
    """Half of the time at capacity, half at ten times that."""
    report = Report(f"overload: {seconds / 2:.0f} s at capacity, then as long at ten times that")
    full, over, warm, pulse = Tally(), Tally(), Tally(), Pulse()
    rate = CAPACITY / tokens_of(10)

    async def main(service: Service) -> None:
        with pulse:
            await arrive(service.address, warm, {callers.good: 1.0}, 3 * rate, 3.0, seed)
            await arrive(service.address, full, {callers.good: 1.0}, 1.2 * rate, seconds / 2, seed)
            before = memory(service)
            began = time.monotonic()
            await arrive(service.address, over, {callers.good: 1.0}, 10 * rate, seconds / 2, seed + 1, most=2000)
            took, after = time.monotonic() - began, memory(service)
        refused = over.outcomes["good 429"]
        at_capacity, accepted = p99(full.seconds("good")), p99(over.seconds("good"))
        report.tell(
            "right answers a second at capacity, and over it", f"{len(full.right) / (seconds / 2):.1f}, {len(over.right) / took:.1f}"
        )
        report.tell("accepted, refused over capacity", f"{len(over.right)}, {refused}")
        report.timed(
            "p99 of accepted requests, s, against that at capacity",
            f"{accepted:.3f}, {at_capacity:.3f}",
            "<= 2 times",
            accepted <= 2 * at_capacity,
        )
        report.timed("p99 of a refusal, ms", 1e3 * p99(over.refused), "<= 20", p99(over.refused) <= 0.020)
        report.timed("memory before and after, MB", f"{before:.0f}, {after:.0f}", "+ 5 % at most", after <= 1.05 * before)
        wrong = warm.wrong + full.wrong + over.wrong
        report.must("wrong answers", len(wrong), "0", not wrong)
        lost = over.unanswered + len(over.closed) + full.unanswered + len(full.closed)
        report.must("never answered, or closed", lost, "0", not lost)

    with Service(
        scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN), workers=2, queue_tokens=QUEUE_TOKENS, token_budget=512, log_level="error"
    ) as service:  # fmt: skip
        asyncio.run(main(service))
        service.until(lambda: not left(service), 20.0)
        report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
    report.stood_still(pulse.longest_s)
    return report

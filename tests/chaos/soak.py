"""A long steady load of callers of every kind: nothing may grow. How growth is told from noise stands in `watch`."""

from __future__ import annotations

import asyncio
import contextlib
import time

from batching.board import Board
from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, tokens_of
from tests.chaos.kills import left
from tests.chaos.report import Report, p99
from tests.chaos.watch import Watch
from tests.processes.http import Closed
from tests.processes.service import Service, ask, scorers

SECONDS_PER_TOKEN, WORKERS, LOAD = 0.0002, 2, 0.8
KINDS = {callers.good: 0.7, callers.bad: 0.08, callers.huge: 0.02, callers.hurried: 0.05, callers.leaving: 0.05, callers.slow: 0.02, callers.large: 0.08}  # fmt: skip


WARM_UP_S = 300.0
"""Caches fill, allocators find their size."""


def rate() -> float:
    """Arrivals a second that keep the workers busy for `LOAD` of the time."""
    share = {10: KINDS[callers.good] + KINDS[callers.hurried], 100: KINDS[callers.large] + KINDS[callers.slow] + KINDS[callers.leaving] / 2}
    return LOAD * WORKERS / SECONDS_PER_TOKEN / sum(part * tokens_of(documents) for documents, part in share.items())


def busy_s(service: Service) -> float:
    """How long the workers have scored so far, all together."""
    assert service.runtime
    board = Board(service.runtime / "0" / "board")
    try:
        return float(board.slots["busy_s"].sum())
    finally:
        board.close()


def run(seconds: float, seed: int = 0) -> Report:
    """Keep 80 % of capacity busy for so long."""
    report = Report(f"soak: {seconds / 60:.1f} minutes at {LOAD:.0%} of capacity")
    tally, pulse = Tally(), Pulse()

    async def main(service: Service) -> None:
        watch, began, before_s = Watch(service), time.monotonic(), busy_s(service)
        asking = asyncio.ensure_future(_scrape(service))
        with pulse:
            await arrive(service.address, tally, KINDS, rate(), seconds, seed)
        took = time.monotonic() - began
        asking.cancel()
        watch.stop()
        watch.tell(report, WARM_UP_S)
        report.tell("calls, right answers a second", f"{sum(tally.outcomes.values())}, {len(tally.right) / took:.1f}")
        report.tell("of their time the workers scored", f"{(busy_s(service) - before_s) / took / WORKERS:.0%}")
        report.tell("p99 of good requests, s", p99(tally.seconds("good")))
        tally.tell(report)

    with Service(scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN), workers=2, log_level="error") as service:
        asyncio.run(main(service))
        service.until(lambda: not left(service), 20.0)
        report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
        report.must("processes that ended", service.log().count("ended with"), "0", not service.log().count("ended with"))
        code = service.stop()
        report.must("exit code of the stop, files left", f"{code}, {len(service.left_behind())}", "0, 0", code == 0 and not service.left_behind())  # fmt: skip
    report.stood_still(pulse.longest_s)
    return report


async def _scrape(service: Service) -> None:
    """Read the metrics, as Prometheus does."""
    while True:
        await asyncio.sleep(5.0)
        with contextlib.suppress(OSError, Closed):
            await ask(service.address, "/metrics")

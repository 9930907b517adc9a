"""What is counted about the HTTP processes themselves, read from their parent's table at every scrape."""

from __future__ import annotations

from collections.abc import Iterable

from service.exposition import TOTAL, Family, labels, series
from service.processes import Processes

RESTARTS, LOOPS, LOOPING = "rerankd_http_process_restarts", "rerankd_http_process_crash_loops", "rerankd_http_process_crash_looping"


class ProcessCollector:
    """Gives how often each HTTP process was started again and why, and whether it is in a crash loop."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def collect(self) -> Iterable[Family]:
        """Read the table once and give all families."""
        views = [(str(one.index), one) for one in self._processes.view()]
        restarts = [
            (series(RESTARTS + TOTAL, labels(process=index, reason=cause.value)), float(times))
            for index, one in views
            for cause, times in one.restarts.items()
        ]
        loops = [(series(LOOPS + TOTAL, labels(process=index)), float(one.crash_loops)) for index, one in views]
        looping = [(series(LOOPING, labels(process=index)), float(one.looping)) for index, one in views]
        yield Family(RESTARTS, "Times an HTTP process was started again: after a crash, killed, stuck, or because it refused to start.",
                     "counter", restarts)  # fmt: skip
        yield Family(LOOPS, "Times an HTTP process crashed too often in a row.", "counter", loops)
        yield Family(LOOPING, "1 while an HTTP process crashes again and again; readiness is false then.", "gauge", looping)

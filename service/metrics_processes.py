"""What is counted about the HTTP processes themselves, read from their parent's table at every scrape."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.processes import Processes


class ProcessCollector(Collector):  # type: ignore[misc]  # the client library's types are not looked at
    """Gives how often each HTTP process was started again and why, and whether it is in a crash loop."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def collect(self) -> Iterable[Metric]:
        """Read the table once and give all families."""
        restarts = CounterMetricFamily(
            "rerankd_http_process_restarts",
            "Times an HTTP process was started again: after a crash, killed by somebody else, stuck, or because it refused to start.",
            labels=["process", "reason"],
        )
        loops = CounterMetricFamily(
            "rerankd_http_process_crash_loops", "Times an HTTP process crashed too often in a row.", labels=["process"]
        )
        looping = GaugeMetricFamily(
            "rerankd_http_process_crash_looping",
            "1 while an HTTP process crashes again and again, and readiness is false for it.",
            labels=["process"],
        )
        for one in self._processes.view():
            name = str(one.index)
            for cause, times in one.restarts.items():
                restarts.add_metric([name, cause.value], times)
            loops.add_metric([name], one.crash_loops)
            looping.add_metric([name], one.looping)
        return [restarts, loops, looping]

    def describe(self) -> Iterable[Metric]:
        """Give nothing: the names are fixed here and clash with none."""
        return ()

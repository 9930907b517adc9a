"""A long steady load: nothing may grow. Memory, file descriptors, threads, files and rows of every process are looked at again and again.

The test for growth: after a quarter of the time as warm-up, the samples of each process are averaged in twelve blocks. A process grows when
the blocks rise by the Mann-Kendall test (one-sided, p < 0.01) and the last three lie more than 1 MB and 1 % above the first three.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import numpy as np
import psutil

from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, tokens_of
from tests.chaos.kills import left
from tests.chaos.report import Report, p99
from tests.processes.service import Service, ask, scorers

SECONDS_PER_TOKEN, WORKERS, LOAD = 0.0002, 2, 0.8
BLOCKS = 12
KINDS = {callers.good: 0.7, callers.bad: 0.1, callers.hurried: 0.05, callers.leaving: 0.05, callers.slow: 0.02, callers.large: 0.08}


def rises(values: Sequence[float], least: float) -> bool:
    """Whether samples grow: by a trend that is no accident, and by more than `least` and 1 %."""
    if len(values) < 4 * BLOCKS:
        return False
    blocks = [float(block.mean()) for block in np.array_split(np.array(values), BLOCKS)]
    score = sum(np.sign(later - earlier) for place, earlier in enumerate(blocks) for later in blocks[place + 1 :])
    deviation = math.sqrt(BLOCKS * (BLOCKS - 1) * (2 * BLOCKS + 5) / 18)
    growth = np.mean(blocks[-3:]) - np.mean(blocks[:3])
    return bool(score / deviation > 2.33 and growth > max(least, 0.01 * np.mean(blocks[:3])))


class Watch:
    """Samples of every process of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        names = [("supervisor", service.parent)]
        names += [(f"HTTP process {number}", one) for number, one in enumerate(service.http_processes())]
        names += [(f"worker {number}", one) for number, one in enumerate(service.workers())]
        self._processes: list[tuple[str, psutil.Process]] = names
        self.memory: dict[str, list[float]] = {name: [] for name, _ in names}
        self.descriptors: dict[str, list[float]] = {name: [] for name, _ in names}
        self.threads: dict[str, list[float]] = {name: [] for name, _ in names}
        self.files: list[float] = []
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while True:
            for name, process in self._processes:
                with process.oneshot():
                    self.memory[name].append(process.memory_info().rss / 1e6)
                    self.descriptors[name].append(process.num_fds())
                    self.threads[name].append(process.num_threads())
            self.files.append(len(self._service.left_behind()))
            await asyncio.sleep(0.5)

    def stop(self) -> None:
        self._task.cancel()

    def tell(self, report: Report) -> None:
        """One line per process, after the warm-up."""
        for name, _ in self._processes:
            memory = self.memory[name][len(self.memory[name]) // 4 :]
            report.must(
                f"{name}: memory at a quarter and at the end, MB", f"{memory[0]:.1f}, {memory[-1]:.1f}", "no rise", not rises(memory, 1.0)
            )
            for what, samples in (("descriptors", self.descriptors[name]), ("threads", self.threads[name])):
                late = samples[len(samples) // 4 :]
                report.must(f"{name}: {what}, least and most", f"{min(late):.0f}, {max(late):.0f}", "no rise", not rises(late, 2.0))
        report.must(
            "files in the runtime directory", f"{self.files[0]:.0f}, {self.files[-1]:.0f}", "the same", self.files[0] == self.files[-1]
        )


def run(seconds: float, seed: int = 0) -> Report:
    """Keep 80 % of capacity busy for so long."""
    report = Report(f"soak: {seconds / 60:.1f} minutes at {LOAD:.0%} of capacity")
    tally, pulse = Tally(), Pulse()
    share = {10: KINDS[callers.good] + KINDS[callers.hurried], 100: KINDS[callers.large] + KINDS[callers.slow] + KINDS[callers.leaving] / 2}
    rate = LOAD * WORKERS / SECONDS_PER_TOKEN / sum(part * tokens_of(documents) for documents, part in share.items())

    async def main(service: Service) -> None:
        watch, began = Watch(service), time.monotonic()
        asking = asyncio.ensure_future(_scrape(service))
        with pulse:
            await arrive(service.address, tally, KINDS, rate, seconds, seed)
        took = time.monotonic() - began
        asking.cancel()
        watch.stop()
        watch.tell(report)
        report.tell("calls, right answers a second", f"{sum(tally.outcomes.values())}, {len(tally.right) / took:.1f}")
        report.tell("p99 of good requests, s", p99(tally.seconds("good")))
        report.must("wrong answers", len(tally.wrong), "0", not tally.wrong)
        lost = tally.unanswered + len(tally.closed)
        report.must("never answered, or closed", lost, "0", not lost)

    with Service(scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN), workers=2, log_level="error") as service:
        asyncio.run(main(service))
        service.until(lambda: not left(service), 20.0)
        report.must("entries and tokens left in the queue", left(service) or 0, "0", not left(service))
        report.must("restarts", service.log().count("ended with"), "0", not service.log().count("ended with"))
    report.stood_still(pulse.longest_s)
    return report


async def _scrape(service: Service) -> None:
    """Read the metrics, as Prometheus does."""
    while True:
        await asyncio.sleep(5.0)
        await ask(service.address, "/metrics")

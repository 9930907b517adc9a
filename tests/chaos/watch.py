"""Does anything grow? Memory, descriptors, threads, rows and files of a service, looked at again and again, and the test that tells growth from noise.

The test: after the warm-up (a quarter of the time, at least five minutes in a soak), the samples of each process are averaged in twelve blocks.
A process grows when the blocks rise by the Mann-Kendall test (one-sided, p < 0.01) and the last three lie above the first three by more than
what an allocator moves by itself.
The slope that is told beside it is Theil and Sen's: the median of the slopes between any two blocks.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import psutil

from batching.queue import Queue
from tests.chaos.report import Report
from tests.processes.service import Service

BLOCKS = 12
STEP_S = 0.5
LEAST = {"memory": 0.25, "descriptors": 2.0, "threads": 0.5, "rows": 4.0}
"""What is no growth, however steady: MB that an allocator keeps or a page that is touched late; one connection more or less at a time."""


class Trend(NamedTuple):
    """`p`: how likely noise rises like this; `slope`: per sample; `growth`: from the first quarter of the blocks to the last."""

    p: float
    slope: float
    growth: float

    def is_growth(self, least: float) -> bool:
        """Whether it is no accident, and more than `least`."""
        return self.p < 0.01 and self.growth > least


def trend(values: Sequence[float]) -> Trend | None:
    """How samples move; None for too few."""
    if len(values) < 4 * BLOCKS:
        return None
    blocks = [float(block.mean()) for block in np.array_split(np.array(values), BLOCKS)]
    pairs = [(second - first, blocks[second] - blocks[first]) for first in range(BLOCKS) for second in range(first + 1, BLOCKS)]
    score = sum(float(np.sign(rise)) for _, rise in pairs) / math.sqrt(BLOCKS * (BLOCKS - 1) * (2 * BLOCKS + 5) / 18)
    slope = float(np.median([rise / steps for steps, rise in pairs])) * BLOCKS / len(values)
    return Trend(0.5 * math.erfc(score / math.sqrt(2)), slope, float(np.mean(blocks[-3:]) - np.mean(blocks[:3])))


class Watch:
    """Samples of every process of a service, of its queue and of its directory; within a running event loop."""

    def __init__(self, service: Service) -> None:
        assert service.runtime
        self._service, self._queue = service, Queue(service.runtime / "0")
        names = [("supervisor", service.parent)]
        names += [(f"HTTP process {number}", one) for number, one in enumerate(service.http_processes())]
        names += [(f"worker {number}", one) for number, one in enumerate(service.workers())]
        self._processes: list[tuple[str, psutil.Process]] = names
        self.samples: dict[str, dict[str, list[float]]] = {
            what: {name: [] for name, _ in names} for what in ("memory", "private memory", "descriptors", "threads")
        }
        self.rows: list[float] = []
        self.files: list[float] = []
        self.times: list[float] = []
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        began = time.monotonic()
        while True:
            for name, process in self._processes:
                with process.oneshot():
                    memory = process.memory_info()
                    found = (memory.rss / 1e6, (memory.rss - memory.shared) / 1e6, process.num_fds(), process.num_threads())
                for what, value in zip(self.samples, found, strict=True):
                    self.samples[what][name].append(value)
            self.rows.append(sum(int((arena.states != 0).sum()) for arena in self._queue.arenas))
            self.files.append(len(self._service.left_behind()))
            self.times.append(time.monotonic() - began)
            await asyncio.sleep(STEP_S)

    def stop(self) -> None:
        self._task.cancel()
        self._queue.close()

    def tell(self, report: Report, warm_up_s: float = 0.0, share: float = 0.0) -> None:
        """Judge what came after the warm-up (this long, or a quarter), and keep all samples in the report; `share`: what memory may grow by."""
        report.raw["seconds of the samples"] = [round(value, 2) for value in self.times]
        for what, by_name in self.samples.items():
            for name, values in by_name.items():
                report.raw[f"{name}: {what}"] = [round(value, 3) for value in values]
        report.raw["rows"], report.raw["files"] = self.rows, self.files
        first = max(len(self.times) // 4, bisect_left(self.times, warm_up_s))
        if first == len(self.times):
            report.tell("growth of memory, descriptors, threads and rows", "not judged: all of it was warm-up")
            return
        step_s = (self.times[-1] - self.times[first]) / max(1, len(self.times) - first - 1)
        for name, _ in self._processes:
            self._tell_memory(report, name, self.samples["memory"][name][first:], step_s, share)
        for what in ("descriptors", "threads"):
            for name, _ in self._processes:
                self._tell_count(report, f"{name}: {what}", self.samples[what][name][first:], LEAST[what])
        self._tell_count(report, "rows in use", self.rows[first:], LEAST["rows"])
        report.must("files in the runtime directory, at first and at last", f"{self.files[0]:.0f}, {self.files[-1]:.0f}", "the same", self.files[0] == self.files[-1])  # fmt: skip

    def _tell_memory(self, report: Report, name: str, values: list[float], step_s: float, share: float) -> None:
        found, ends = trend(values), f"{values[0]:.1f} to {values[-1]:.1f} MB"
        if found is None:
            report.tell(f"{name}: memory after warm-up (too few samples for the test)", ends)
            return
        text = f"{ends}, {1000 * found.slope / step_s * 60:+.1f} kB/min, p {found.p:.3f}"
        least = max(LEAST["memory"], share * values[0])
        limit = f"no rise (p < 0.01 and {least:.2f} MB)"
        report.must(f"{name}: memory after warm-up, slope", text, limit, not found.is_growth(least))

    def _tell_count(self, report: Report, what: str, values: list[float], least: float) -> None:
        found, ends = trend(values), f"{min(values):.0f} to {max(values):.0f}"
        if found is None:
            report.tell(f"{what} (too few samples for the test)", ends)
        else:
            report.must(what, f"{ends}, p {found.p:.3f}", "no rise", not found.is_growth(least))

"""CUDA graphs around a packed body: a small row costs one launch instead of hundreds. Everything else goes the plain way.

A bucket's graph is captured when the bucket is met for the second time, checked against the plain forward, and replayed from then on.
All graphs share one output and run in order on one stream, so a row's hidden states hold until the next row's forward.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from batching.scoring.batch import Batch, Forward, RowRead, read_rows
from batching.scoring.buckets import TOKENS, Bucket, bucket_of, fill_bucket, parts_of
from batching.scoring.drift import DRIFT, worst_row
from batching.scoring.layout import Layout
from batching.scoring.segments import How, Kernel, Segments
from batching.types import Int32s

logger = logging.getLogger("rerankd.worker")

CAPTURE_AT = 2
MOST = 96
"""Graphs kept; each takes some memory of the device's for its launches."""


class Ungraphable(RuntimeError):
    """This body can't be captured."""


class Graph(Protocol):
    """What is captured once and replayed: `torch.cuda.CUDAGraph` behind `CudaGraph`, or a stand-in."""

    def capture(self, run: Callable[[], None]) -> None:
        """Remember the work of `run`; its tensors are read and written in place by every replay."""
        ...

    def replay(self) -> None:
        """Do the work again."""
        ...


class CudaGraph:
    """A graph on the current CUDA device; graphs made with one `pool` share memory, since none runs beside another."""

    def __init__(self, pool: Any) -> None:
        self._graph, self._pool = torch.cuda.CUDAGraph(), pool

    def capture(self, run: Callable[[], None]) -> None:
        """See `Graph`; runs once beforehand on a side stream, so that libraries have made their handles and kernels are loaded."""
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            run()
        main.wait_stream(side)
        with torch.cuda.graph(self._graph, pool=self._pool, capture_error_mode="thread_local"):
            run()

    def replay(self) -> None:
        """See `Graph`."""
        self._graph.replay()


def cuda_graphs() -> Callable[[], Graph]:
    """A maker of graphs that share one pool."""
    pool = torch.cuda.graph_pool_handle()
    return lambda: CudaGraph(pool)


class Strict:
    """A kernel that refuses what it does not serve, where others would fall back to runs, which are no fixed work."""

    def __init__(self, kernel: Kernel) -> None:
        self.name, self.sorts, self._kernel = kernel.name, kernel.sorts, kernel

    def serves(self, query: Tensor, segments: Segments, how: How) -> bool:
        """See `Kernel`; raises Ungraphable instead of saying no."""
        if not self._kernel.serves(query, segments, how):
            raise Ungraphable(f"{self.name} does not serve all of this model's layers")
        return True

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: How) -> Tensor:
        """See `Kernel`."""
        return self._kernel(query, key, value, segments, how)


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph with its input, int32 [bucket.size], and its output [bucket.tokens, H]."""

    graph: Graph
    block: Tensor
    out: Tensor

    def run(self, block: Tensor) -> Tensor:
        """The output for another input; holds until the next run of any graph."""
        self.block.copy_(block, non_blocking=True)
        self.graph.replay()
        return self.out


class GraphedForward:
    """`inner` with its small rows replayed. Never fails for a graph's sake: the first trouble is logged and ends capturing."""

    padded = False

    def __init__(self, inner: Forward, kernel: Kernel, offset: int, make: Callable[[], Graph]) -> None:
        """`offset`: the position of a sequence's first token; `make`: an empty graph."""
        self.backend = f"{inner.backend}+graphs"
        self.warm_up_rows: tuple[int, ...] = TOKENS
        self._inner, self._kernel, self._offset, self._make = inner, Strict(kernel), offset, make
        self._seen: Counter[Bucket] = Counter()
        self._captured: dict[Bucket, Captured] = {}
        self._output: Tensor | None = None
        self.trouble = ""
        """Why nothing more is captured."""

    def fill(self, tokens: int) -> int:
        """See `Forward`."""
        return self._inner.fill(tokens)

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """See `Forward`: with the graph's input where there is a graph, or is to be one."""
        arrays, bucket = self._inner.arrays(layout), bucket_of(layout)
        if bucket is None:
            return arrays
        self._seen[bucket] += 1
        wanted = not self.trouble and self._seen[bucket] >= CAPTURE_AT and len(self._captured) < MOST
        if wanted or bucket in self._captured:
            arrays["graph"] = fill_bucket(layout, bucket, self._offset)
        return arrays

    def hidden(self, batch: Batch) -> Tensor:
        """See `Forward`."""
        block, bucket = batch.tensors.get("graph"), bucket_of(batch.layout)
        if block is None or bucket is None or batch.segments.veil is not None:
            return self._inner.hidden(batch)
        captured = self._captured.get(bucket)
        if captured is not None:
            return captured.run(block)[: len(batch.layout.ids)]
        plain = self._inner.hidden(batch)
        if not self.trouble:
            self._try(bucket, batch, block, plain)
        return plain

    def _try(self, bucket: Bucket, batch: Batch, block: Tensor, plain: Tensor) -> None:
        """Capture `bucket` and hold it against the plain forward's result. The one place that waits for the device."""
        try:
            captured = self._capture(bucket, batch, block, plain)
            apart = worst_row(captured.run(block)[: len(plain)], plain)
            if not apart <= DRIFT:
                raise Ungraphable(f"a replay differs from the plain forward by {apart:.3g} of the spread")
        except RuntimeError as error:
            self.trouble = str(error).partition("\n")[0]
            logger.warning("no more CUDA graphs are captured: %s", self.trouble)
            return
        self._captured[bucket] = captured

    def _capture(self, bucket: Bucket, batch: Batch, block: Tensor, plain: Tensor) -> Captured:
        if self._output is None:
            self._output = plain.new_empty(TOKENS[-1], plain.shape[1])
        static, out = block.clone(), self._output[: bucket.tokens]
        tensors = parts_of(static, bucket)
        segments = Segments(kernel=self._kernel, layout=batch.layout, offsets=tensors["offsets"], longest=bucket.longest)
        fixed = Batch(layout=batch.layout, segments=segments, tensors=tensors)

        def run() -> None:
            out.copy_(self._inner.hidden(fixed))

        captured = Captured(self._make(), static, out)
        captured.graph.capture(run)
        return captured

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """See `Forward`."""
        return read_rows(self.hidden(batch), batch, read)

    def weights_bytes(self) -> int:
        """See `Forward`."""
        return self._inner.weights_bytes()

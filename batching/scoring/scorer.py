"""The scorer that a worker drives: lay the pack out, hand it to the device, give back a way to wait for its scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from batching.families.base import Family
from batching.scoring.batch import Batch, Forward, Reader, module_bytes
from batching.scoring.bodies import Positions
from batching.scoring.graphs import CAPTURE_AT
from batching.scoring.lanes import Lane
from batching.scoring.layout import Layout, fill_up, lay_out
from batching.scoring.pictured import Spots
from batching.scoring.segments import Kernel, Segments, shared_arrays, shared_rows, veil_of
from batching.types import Collect, Int32s, Pack

MEDIAN_LENGTH, LENGTH_SIGMA, LEAST_LENGTH = 90, 0.6, 8
"""Log-normal lengths as passages have them: equal ones would run faster than what comes, and small batches most of all."""
SMALL_LENGTH = 64
"""Divides the rows of all graphs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model's tables hold. An index beyond them would be a wrong answer on some devices and the end of the process on CUDA."""

    positions: Positions
    vocabulary: int
    longest: int

    def check(self, pack: Pack) -> None:
        """Raise ValueError for a pack that the tables don't hold."""
        if len(pack.ids) and not 0 <= int(pack.ids.min()) <= int(pack.ids.max()) < self.vocabulary:
            raise ValueError(f"token ids from {pack.ids.min()} to {pack.ids.max()} for a vocabulary of {self.vocabulary}")
        longest = int(pack.lengths.max(initial=0))
        if not len(pack.lengths) or pack.lengths.min() < 1:
            raise ValueError("a pack needs sequences of at least one token")
        if self.positions.count is not None and longest > self.positions.count:
            raise ValueError(f"a sequence of {longest} tokens for a model of {self.positions.count} positions")


class PackedScorer:
    """One model on one device; see `batching.types.Scorer`. Not thread-safe: one launch at a time."""

    def __init__(
        self,
        *,
        family: Family,
        forward: Forward,
        reader: Reader,
        kernel: Kernel,
        lane: Lane,
        device: str,
        dtype: str,
        limits: Limits,
        spots: Spots | None = None,
    ) -> None:
        """`spots`: where images go, for a model that takes them; `device` and `dtype` are names for the operator."""
        self.device = device
        self.dtype = dtype
        self.backend = forward.backend
        self.padded = forward.padded
        self._family = family
        self._forward = forward
        self._reader = reader
        self._kernel = kernel
        self._lane = lane
        self._limits = limits
        self._spots = spots

    def launch(self, pack: Pack) -> Collect:
        """See `Scorer.launch`: the host is done when this returns, the device need not be. On the CPU the work is done in collect."""
        self._limits.check(pack)
        task = self._reader.task(pack)
        layout = lay_out(
            pack,
            task.members,
            task.prefix_of,
            sort=self._kernel.sorts,
            offset=self._limits.positions.offset,
            token_types=self._family.token_types,
        )
        layout = fill_up(layout, self._forward.fill(len(layout.ids)), self._limits.positions.offset)
        prefixes = shared_arrays(layout)
        arrays: dict[str, Int32s] = {"ids": layout.ids, "positions": layout.positions, "offsets": layout.offsets, **prefixes}
        if layout.types is not None:
            arrays["types"] = layout.types
        arrays |= self._forward.arrays(layout) | task.arrays(layout)
        if pack.tiles is not None:
            arrays |= self._place(pack, layout)

        def work(tensors: dict[str, Tensor]) -> Tensor:
            shared = shared_rows(layout, prefixes, tensors)
            segments = Segments(
                kernel=self._kernel, layout=layout, offsets=tensors["offsets"], shared=shared, longest=layout.longest, veil=veil_of(tensors)
            )
            batch = Batch(layout=layout, segments=segments, tensors=tensors)
            how = self._reader.read
            return task.score(self._forward.hidden(batch) if how is None else self._forward.rows(batch, how), batch)

        return self._lane.submit(arrays, work)

    def _place(self, pack: Pack, layout: Layout) -> dict[str, Int32s]:
        """Arrays of the images in `pack`; raises ValueError when the model takes none, or they do not fit."""
        if self._spots is None:
            raise ValueError("images for a model that reads text only")
        return self._spots.arrays(pack, layout)

    def warm_up(self, tokens: int) -> None:
        """Run a made-up batch of about `tokens` tokens, so that kernels are loaded and memory is taken before the first request."""
        self.launch(self._made_up(mixed_lengths(tokens, self._limits.longest)))()

    def prepare(self) -> None:
        """Meet the common small shapes often enough for the forward to keep them ready (CUDA graphs); nothing to do for others."""
        for tokens in self._forward.warm_up_rows:
            for _ in range(CAPTURE_AT):
                self.launch(self._made_up(equal_lengths(tokens, min(SMALL_LENGTH, self._limits.longest))))()

    def memory_bytes(self) -> int:
        """Memory held on the device, or the weights' bytes where the device does not say."""
        return self._lane.memory_bytes() or self._forward.weights_bytes() + sum(map(module_bytes, self._reader.modules()))

    def _made_up(self, lengths: Int32s) -> Pack:
        """One entry of sequences of these lengths."""
        shared = self._family.unit in ("embedding", "late")
        if shared and len(lengths) < 2:
            lengths = np.repeat(lengths, 2)  # a query and a document
        count = len(lengths)
        listwise = self._family.unit == "list"
        scores = 0 if listwise else count - int(shared)
        return Pack(
            ids=np.ones(int(lengths.sum()), dtype=np.int32),
            lengths=lengths,
            splits=lengths // 2,
            entry_sequences=np.array([count], dtype=np.int32),
            entry_scores=np.array([scores], dtype=np.int32),
            entry_shared=np.array([shared]),
        )


def equal_lengths(tokens: int, length: int) -> Int32s:
    """About `tokens` tokens in sequences of `length`, int32 [S]."""
    return np.full(max(1, tokens // length), min(length, tokens), dtype=np.int32)


def mixed_lengths(tokens: int, longest: int, seed: int = 0) -> Int32s:
    """`tokens` tokens in sequences as they come, none over `longest`; int32 [S], the same every time."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN_LENGTH), LENGTH_SIGMA, tokens // min(LEAST_LENGTH, longest) + 1)
    lengths = np.clip(drawn, min(LEAST_LENGTH, longest), longest).astype(np.int32)
    ends = np.cumsum(lengths)
    lengths = lengths[: int(np.searchsorted(ends, tokens)) + 1]
    lengths[-1] -= ends[len(lengths) - 1] - tokens
    return lengths

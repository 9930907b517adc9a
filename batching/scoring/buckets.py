"""Which CUDA graph serves a row of tokens, and how the row is filled up to that graph's shape. Pure numpy.

A graph replays launches of fixed shapes, so rows are padded in token space: one trailing sequence of nobody's tokens, then empty ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from batching.scoring.layout import Layout
from batching.types import Int32s

TOKENS = (*range(64, 512, 64), *range(512, 1024, 128), *range(1024, 2048, 256), *range(2048, 4097, 512))
"""Rows of graphs. Beyond the last one the device works for longer on a row than the host takes to launch it."""
SEQUENCES = (16, 64, 256)
SHORT = 512
"""Kernels start blocks for the longest sequence: most graphs expect none longer than this."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bucket:
    """The shape of one graph: tokens in the row, sequences by offsets, and the longest sequence that its kernels reckon with."""

    tokens: int
    sequences: int
    longest: int
    types: bool = False

    @property
    def size(self) -> int:
        """Numbers in the graph's input: ids, positions, perhaps types, offsets."""
        return self.tokens * (3 if self.types else 2) + self.sequences + 1


def bucket_of(layout: Layout) -> Bucket | None:
    """The smallest bucket that holds `layout`; None when none does, or when sequences share prefixes."""
    tokens, sequences = len(layout.ids), len(layout.offsets) - 1
    row = next((size for size in TOKENS if size >= tokens), None)
    if row is None or layout.prefixes is not None or not tokens:
        return None
    count = next((size for size in SEQUENCES if size >= sequences + int(row > tokens)), None)
    if count is None:
        return None
    return Bucket(row, count, row if layout.longest > SHORT else min(row, SHORT), layout.types is not None)


def fill_bucket(layout: Layout, bucket: Bucket, offset: int) -> Int32s:
    """`layout` as the input of a graph, int32 [bucket.size]; nobody's tokens are of id 0 at position `offset`."""
    block = np.zeros(bucket.size, dtype=np.int32)
    parts = parts_of(block, bucket)
    tokens, bounds = len(layout.ids), len(layout.offsets)
    parts["ids"][:tokens] = layout.ids
    parts["positions"][:tokens] = layout.positions
    parts["positions"][tokens:] = offset
    if layout.types is not None:
        parts["types"][:tokens] = layout.types
    parts["offsets"][:bounds] = layout.offsets
    parts["offsets"][bounds:] = bucket.tokens
    return block


def parts_of(block: T, bucket: Bucket) -> dict[str, T]:
    """Views of a block (an array or a tensor) by name: ids, positions, offsets, and types where the model has them."""
    names = ("ids", "positions", "types") if bucket.types else ("ids", "positions")
    sliced: dict[str, T] = {
        name: block[number * bucket.tokens : (number + 1) * bucket.tokens]  # type: ignore[index]
        for number, name in enumerate(names)
    }
    return {**sliced, "offsets": block[len(names) * bucket.tokens :]}  # type: ignore[index]

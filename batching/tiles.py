"""Pixels that come with token sequences: images cut into tiles, and how they lie behind the ids in an entry's payload.

    words   bytes of one tile, tiles of each sequence [S], then the tiles, sequence after sequence

Whoever reads them from shared memory treats every number as untrusted. What a tile means is the model's affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int32s = NDArray[np.int32]
Pixels = NDArray[np.uint8]

BLOCK_BYTES = 65536
"""A payload grows by whole blocks for its tiles, so that their number fits into 16 bits."""
MOST_BLOCKS = 65535


@dataclass(frozen=True, slots=True)
class Tiles:
    """`counts` int32 [S]: tiles of each sequence, 0 for text; `pixels` uint8 [sum of counts, bytes of a tile], sequence after sequence.

    `cost`: what seeing one tile costs beside the tokens that stand for it, in tokens; 0 once a batch was planned.
    """

    counts: Int32s
    pixels: Pixels
    cost: int = 0

    def of(self, places: NDArray[np.intp]) -> Tiles | None:
        """The tiles of the sequences at `places`, in that order; None where they have none."""
        counts = self.counts[places]
        if not counts.any():
            return None
        ends = np.cumsum(self.counts)
        if (np.diff(places) == 1).all():  # neighbours lie side by side already
            return Tiles(counts, self.pixels[ends[places[0]] - counts[0] : ends[places[-1]]])
        starts = (ends - self.counts)[places].tolist()
        rows = [self.pixels[start : start + count] for start, count in zip(starts, counts.tolist(), strict=True) if count]
        return Tiles(counts, rows[0] if len(rows) == 1 else np.concatenate(rows))

    @property
    def blocks(self) -> int:
        """Blocks that they take in a payload. Raises ValueError when no payload can hold so many."""
        found = -(-(4 * (1 + len(self.counts)) + self.pixels.nbytes) // BLOCK_BYTES)
        if found > MOST_BLOCKS or self.pixels.shape[1] % 4:
            raise ValueError(f"{self.pixels.nbytes:,} bytes of tiles of {self.pixels.shape[1]:,} do not fit into one entry")
        return found

    def write(self, words: Int32s) -> None:
        """Lay them out in `words`, which has room for `blocks`."""
        count = len(self.counts)
        words[0] = self.pixels.shape[1]
        words[1 : 1 + count] = self.counts
        pixels = self.pixels.reshape(-1).view(np.int32)
        words[1 + count : 1 + count + len(pixels)] = pixels


def read(words: Int32s, sequences: int) -> Tiles:
    """The tiles of `sequences` that `write` laid out in `words`, copied. Raises ValueError for numbers that can't be true."""
    if len(words) <= sequences:
        raise ValueError("an entry's tiles do not fit into it")
    size, counts = int(words[0]), words[1 : 1 + sequences].copy()
    total = int(counts.sum(dtype=np.int64))
    if size <= 0 or size % 4 or counts.min() < 0 or total < 1 or total * size // 4 > len(words) - 1 - sequences:
        raise ValueError("an entry's tiles do not fit into it")
    pixels = words[1 + sequences : 1 + sequences + total * size // 4].copy().view(np.uint8)
    return Tiles(counts, pixels.reshape(total, size))


def join(parts: Sequence[tuple[int, Tiles | None]]) -> Tiles | None:
    """The tiles of several runs of sequences, one after another: (sequences, their tiles). Raises ValueError when sizes differ."""
    found = [tiles.pixels for _, tiles in parts if tiles is not None]
    if not found:
        return None
    counts = [np.zeros(count, np.int32) if tiles is None else tiles.counts for count, tiles in parts]
    return Tiles(np.concatenate(counts), found[0] if len(found) == 1 else np.concatenate(found))

"""The nouns that cross a boundary inside the engine: what is submitted, what is scored, what comes back.

A request's pairs travel as flat arrays, never as objects per pair. `Sequences` is the form in which the HTTP process hands them
over, `Pack` the form in which a worker's scorer receives several entries at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from batching.tiles import Tiles

Int32s = NDArray[np.int32]
Float32s = NDArray[np.float32]
SHARED_WEIGHTS = "RERANKD_SHARED_WEIGHTS"
"""The environment variable by which a pool tells its workers where weights lie that all of them use; without it nothing is shared."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Tokenized sequences laid end to end; what one entry, or a whole request before it is cut into entries, holds.

    `ids` int32 [T]; `lengths` int32 [S], summing to T; `splits` int32 [S]: where segment B begins inside each sequence (0 where the
    model has no token types), or, in a late-interaction query, where tokens begin that nobody attends to (0: none). With `shared`,
    sequence 0 belongs to all others (a causal family's prefix, a bi-encoder's query) and carries no score of its own. `scores`
    counts the float32 scores that come back: S, or S - 1 with `shared`, or, for a listwise family, one per document of all sequences.
    `tiles`: pixels that come with them, None for text alone.
    """

    ids: Int32s
    lengths: Int32s
    splits: Int32s
    shared: bool
    scores: int
    tiles: Tiles | None = None

    @property
    def tokens(self) -> int:
        """Real tokens, the shared sequence counted once."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Pack:
    """The sequences of one batch, entry after entry, as the scorer reads them.

    `ids` int32 [T], `lengths` and `splits` int32 [S] as in `Sequences`; `entry_sequences` int32 [E]: sequences per entry;
    `entry_scores` int32 [E]: scores per entry; `entry_shared` bool [E]: the entry's first sequence is shared by its others; `tiles` as
    in `Sequences`.
    """

    ids: Int32s
    lengths: Int32s
    splits: Int32s
    entry_sequences: Int32s
    entry_scores: Int32s
    entry_shared: NDArray[np.bool_]
    tiles: Tiles | None = None

    @property
    def tokens(self) -> int:
        """Real tokens in the batch."""
        return len(self.ids)

    @property
    def saved_tokens(self) -> int:
        """Tokens that sharing spared: what each shared sequence would have cost again with every score but one."""
        if not self.entry_shared.any():
            return 0
        firsts = np.cumsum(self.entry_sequences) - self.entry_sequences
        spared = self.lengths[firsts] * np.maximum(self.entry_scores - 1, 0)
        return int(spared[self.entry_shared].sum())

    @property
    def scores(self) -> int:
        """Scores that the scorer must return."""
        return int(self.entry_scores.sum())


Collect = Callable[[], Float32s]


class Scorer(Protocol):
    """What a worker drives. The real one is `batching.scoring.load.load_scorer`'s; tests and benchmarks have costless ones."""

    def launch(self, pack: Pack) -> Collect:
        """Start scoring `pack`; the returned call waits and gives its raw scores, float32 [pack.scores], in order.

        Raises `OutOfMemory` when the device could not hold the batch; any other exception fails the batch.
        """
        ...


class LoadedScorer(Scorer, Protocol):
    """A scorer as its factory returns it: loaded, warmed up, its budget measured."""

    device: str
    dtype: str
    backend: str
    depth: int
    """Batches that may be on the device at once: 2 where launching does not wait for the result, else 1; 0 to score in place (CPU)."""
    budget_tokens: int
    padded: bool
    """Whether it pads, so that a batch costs its longest sequence times their number."""

    def memory_bytes(self) -> int:
        """Memory the model takes on its device."""
        ...

    def exercise(self) -> None:
        """Run a small forward and wait for it, as is done now and then while there is nothing to score. Raises as `launch` does."""
        ...


class OutOfMemory(Exception):
    """The device's memory did not hold this batch; a smaller one may fit."""

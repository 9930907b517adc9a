"""What a worker holds while it scores a batch: which entries, as columns, and how they become one pack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batching.arena import Arena
from batching.tiles import Tiles, join
from batching.types import Pack


class Corrupt(Exception):
    """An entry's payload contradicts itself."""


@dataclass(frozen=True, slots=True)
class Share:
    """The leased entries of one arena: their rows (intp [n]) and the fields these had when they were leased (ROW [n])."""

    arena: int
    rows: NDArray[np.intp]
    table: NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Lease:
    """The entries of one batch, leased together at `leased_at` (monotonic seconds). It ends where a row's generation has moved on."""

    shares: tuple[Share, ...]
    leased_at: float

    @property
    def entries(self) -> int:
        """How many entries it holds."""
        return sum(len(share.rows) for share in self.shares)

    @property
    def cost(self) -> int:
        """What it took of the token budget: its tokens, padded where the model pads."""
        return sum(int(share.table["cost"].sum()) for share in self.shares)

    @property
    def suspect(self) -> bool:
        """Whether it holds an entry that was there when a worker died."""
        return any(share.table["attempts"].any() for share in self.shares)

    @property
    def traces(self) -> str:
        """The request ids in it, for the log: the first 16 characters of each."""
        found = {trace for share in self.shares for trace in share.table["trace"].tolist()}
        return ",".join(sorted(trace.decode("ascii", "replace") for trace in found))

    def pack(self, arenas: list[Arena]) -> Pack:
        """The entries' sequences end to end, copied out of shared memory. Raises Corrupt when lengths don't add up to tokens."""
        parts = [arenas[share.arena].read(share.table) for share in self.shares]
        lengths, splits, ids = parts[0] if len(parts) == 1 else (np.concatenate(column) for column in zip(*parts, strict=True))
        table = self.shares[0].table if len(parts) == 1 else np.concatenate([share.table for share in self.shares])
        sequences = table["sequences"].astype(np.int32)
        firsts = np.cumsum(sequences) - sequences
        if lengths.min() <= 0 or (np.add.reduceat(lengths.astype(np.int64), firsts) != table["tokens"]).any():
            raise Corrupt("an entry's lengths do not add up to its tokens")
        return Pack(
            ids=ids,
            lengths=lengths,
            splits=splits,
            entry_sequences=sequences,
            entry_scores=table["scores"].astype(np.int32),
            entry_shared=table["shared"] != 0,
            tiles=self._tiles(arenas) if table["blocks"].any() else None,
        )

    def _tiles(self, arenas: list[Arena]) -> Tiles | None:
        """The entries' tiles, copied out of shared memory. Raises Corrupt."""
        try:
            return join([(int(row["sequences"]), arenas[share.arena].read_tiles(row)) for share in self.shares for row in share.table])
        except ValueError as error:
            raise Corrupt(str(error)) from None

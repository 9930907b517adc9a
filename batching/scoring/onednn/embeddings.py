"""From token ids to the first layer's input. The tables stay the model's own, so mapped weights stay shared between processes."""

from __future__ import annotations

import torch
from torch import Tensor

from batching.scoring.onednn import weights
from batching.scoring.onednn.linear import LayerNorm
from batching.scoring.onednn.passes import Passes
from batching.scoring.onednn.rows import Rows
from batching.scoring.onednn.scratch import Scratch
from batching.types import Int32s


class Embeddings:
    """Words, positions and token types summed and normalised in float32, projected where the model projects."""

    def __init__(self, own: weights.EmbeddingWeights, position_offset: int, passes: Passes) -> None:
        self._words, self._types = own.words, own.types.float()
        self._positions = own.positions[position_offset:]
        self._norm = LayerNorm(own.norm)
        self._projection = None if own.projection is None else passes.linear(own.projection, torch.float32)
        self.nbytes = own.words.nbytes + own.positions.nbytes + self._types.nbytes + self._norm.nbytes
        self.nbytes += 0 if self._projection is None else self._projection.nbytes

    def __call__(self, ids: Int32s, types: Int32s | None, rows: Rows, scratch: Scratch) -> Tensor:
        """`ids` and `types` int32 [T] in the caller's order; float32 [rows.count, H]. Raises IndexError for an id outside its table."""
        summed = self._look_up(self._words, _in_rows(ids, rows), scratch)
        summed += self._look_up(self._positions, torch.from_numpy(rows.positions), scratch, "positions")
        if types is None or len(self._types) == 1:
            summed += self._types[0]
        else:
            summed += self._look_up(self._types, _in_rows(types, rows), scratch, "types")
        normed = self._norm(summed)
        return normed if self._projection is None else self._projection(normed)

    def _look_up(self, table: Tensor, index: Tensor, scratch: Scratch, name: str = "words") -> Tensor:
        picked = scratch.take(f"embedded {name}", table.dtype, len(index), table.shape[1])
        return torch.index_select(table, 0, index, out=picked).float()


def _in_rows(values: Int32s, rows: Rows) -> Tensor:
    """The caller's values in row order, zeros in the padding."""
    placed = torch.zeros(rows.count, dtype=torch.int32)
    own = torch.from_numpy(values)
    placed[: rows.tokens] = own if rows.sources is None else own[torch.from_numpy(rows.sources)]
    return placed

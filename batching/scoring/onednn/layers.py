"""Transformer layers over packed rows, in float32 or bfloat16: the whole layer, and the last one when only a row per sequence is read."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from batching.scoring.onednn import weights
from batching.scoring.onednn.absorbed import AbsorbedAttention
from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.linear import LayerNorm, stack
from batching.scoring.onednn.passes import Passes
from batching.scoring.onednn.rows import Rows
from batching.scoring.onednn.scratch import Scratch


class Layer(Protocol):
    """Hidden states of `dtype` to the next layer's; `nbytes`: weights held."""

    dtype: torch.dtype
    nbytes: int

    def __call__(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor: ...


class Rest:
    """What follows attention, the same for every row: output, residual, norm, up, down, residual, norm."""

    def __init__(self, own: weights.LayerWeights, dtype: torch.dtype, activation: tuple[str, str], passes: Passes) -> None:
        self._passes = passes
        self._output = passes.linear(own.output, dtype)
        self._attention_norm = LayerNorm(own.attention_norm)
        self._up = passes.linear(own.up, dtype, activation)
        self._down = passes.linear(own.down, dtype)
        self._norm = LayerNorm(own.norm)
        self.nbytes = sum(part.nbytes for part in (self._output, self._attention_norm, self._up, self._down, self._norm))

    def middle(self, attended: Tensor, residual: Tensor, scratch: Scratch) -> Tensor:
        """Up to the first norm."""
        return self._passes.residual_norm(self._output(attended), residual, self._attention_norm, scratch)

    def finish(self, x: Tensor, scratch: Scratch) -> Tensor:
        """From the first norm on."""
        return self._passes.residual_norm(self._down(self._up(x)), x, self._norm, scratch)


class WholeLayer:
    """Every row in, every row out."""

    def __init__(self, own: weights.LayerWeights, heads: Heads, dtype: torch.dtype, activation: tuple[str, str], passes: Passes) -> None:
        self._qkv = passes.linear(stack([own.query, own.key, own.value], [heads.query_scale, 1.0, 1.0]), dtype)
        self.attention = passes.attention(heads)
        self.rest = Rest(own, dtype, activation, passes)
        self.dtype = dtype
        self.nbytes = self._qkv.nbytes + self.rest.nbytes

    def __call__(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """`x` [R, H] to [R, H]."""
        return self.rest.finish(self.middle(x, rows, scratch), scratch)

    def middle(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """Up to the first norm."""
        return self.rest.middle(self.attention(self._qkv(x), rows, scratch), x, scratch)


class ReadLayer:
    """The last layer, when one row per sequence is read: everything for those rows alone."""

    def __init__(self, own: weights.LayerWeights, heads: Heads, dtype: torch.dtype, activation: tuple[str, str], passes: Passes) -> None:
        self._attention = AbsorbedAttention(own, heads, dtype, passes)
        self.rest = Rest(own, dtype, activation, passes)
        self.dtype = dtype
        self.nbytes = self._attention.nbytes + self.rest.nbytes

    def __call__(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """`x` [R, H] to [>= S, H]: the rows of `rows.read`, in their order."""
        read = x.index_select(0, torch.from_numpy(rows.read))
        return self.rest.finish(self.rest.middle(self._attention(read, x, rows, scratch), read, scratch), scratch)

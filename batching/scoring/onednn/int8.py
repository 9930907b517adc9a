"""A transformer layer whose products are int8; residuals, norms and the activation stay in float32, attention in `dtype`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from batching.scoring.onednn import weights
from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.layers import Attention, WholeLayer
from batching.scoring.onednn.linear import LayerNorm, PackedLinear, stack
from batching.scoring.onednn.quantise import QuantisedLinear, positive_bytes, signed_bytes, smoothing
from batching.scoring.onednn.rows import Rows
from batching.scoring.onednn.scratch import Scratch
from batching.types import Int32s

_SAMPLES, _SAMPLE_TOKENS = 12, 64
_QKV_STRENGTH = 0.7
_UP_STRENGTH = 0.5
_ACTIVATIONS: dict[tuple[str, str], tuple[Callable[[Tensor], Tensor], float]] = {
    ("gelu", "none"): (torch.ops.aten.gelu_, 0.17),
    ("gelu", "tanh"): (lambda x: torch.ops.aten.gelu_(x, approximate="tanh"), 0.1701),
    ("swish", ""): (torch.ops.aten.silu_, 0.2785),
    ("relu", ""): (torch.ops.aten.relu_, 0.0),
}
"""In place, and how far below 0 each can go."""
_DOWN_ZERO = 24
EXACT_FIRST = frozenset({"qkv", "down"})
"""Products of the first layer that stay in `dtype`: their errors all others carry on, and a few tokens reach far there."""
_PART = 512
"""Rows at a time between products."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The largest values seen in each channel [H] of what a layer is given, and of what its first norm makes."""

    incoming: Tensor
    middle: Tensor


def observe(layer: WholeLayer, x: Tensor, rows: Rows, scratch: Scratch) -> tuple[Tensor, Reach]:
    """Run a float32 layer; its output and what was seen."""
    middle = layer.middle(x, rows, scratch)
    return layer.rest.finish(middle), Reach(x.abs().amax(0), middle.abs().amax(0))


def make_samples(vocabulary: int, longest: int) -> tuple[Int32s, Int32s]:
    """Random ids [T] and their lengths [S] to observe on: they reach channels as running text does, in any language."""
    lengths = np.full(_SAMPLES, min(_SAMPLE_TOKENS, longest), dtype=np.int32)
    return np.random.default_rng(0).integers(0, vocabulary, int(lengths.sum()), dtype=np.int32), lengths


class Int8Layer:
    """Every row in, every row out."""

    dtype = torch.float32

    def __init__(
        self,
        own: weights.LayerWeights,
        reach: Reach,
        heads: Heads,
        dtype: torch.dtype,
        activation: tuple[str, str],
        exact: frozenset[str] = frozenset(),
    ) -> None:
        """`reach`: as `observe` found it; `dtype`: attention's, float32 or bfloat16, and that of the products in `exact` (qkv, down)."""
        projections = [own.query, own.key, own.value]
        factors = smoothing(reach.incoming, projections, _QKV_STRENGTH)
        self._qkv_scale = factors.reciprocal()
        stacked = stack(projections, [heads.query_scale, 1.0, 1.0])
        self._qkv = PackedLinear(stacked, dtype) if "qkv" in exact else QuantisedLinear(stacked, factors)
        self._output = QuantisedLinear(own.output)
        self._attention_norm = LayerNorm(own.attention_norm)
        factors = smoothing(reach.middle, [own.up], _UP_STRENGTH)
        self._up_scale = factors.reciprocal()
        self._up = QuantisedLinear(own.up, factors)
        self._activate, self._least = _ACTIVATIONS[activation]
        self._down = PackedLinear(own.down, dtype) if "down" in exact else QuantisedLinear(own.down, zero=_DOWN_ZERO)
        self._norm = LayerNorm(own.norm)
        self.attention, self._inside = Attention(heads), dtype
        parts = (self._qkv, self._output, self._attention_norm, self._up, self._down, self._norm)
        self.nbytes = sum(part.nbytes for part in parts)

    def __call__(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """`x` float32 [R, H] to float32 [R, H], in place; a few rows at a time, so that what is between products stays in the cache."""
        attended = self.attention(self._project(x, rows, scratch), rows, scratch)
        for part in _slices(rows.count):
            x[part] = self._rest(attended[part], x[part], scratch)
        return x

    def _project(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """Queries, keys and values in attention's type."""
        if isinstance(self._qkv, PackedLinear):
            return self._qkv(x.to(self._inside))
        qkv = scratch.take("qkv", self._inside, rows.count, 3 * self.attention.heads.width)
        for part in _slices(rows.count):
            levels, step = signed_bytes(x[part], self._qkv_scale, scratch)
            product = self._qkv(levels)
            qkv[part] = torch.addcmul(self._qkv.bias, product, step, out=product)
        return qkv

    def _rest(self, attended: Tensor, residual: Tensor, scratch: Scratch) -> Tensor:
        """What follows attention: output, residual, norm, up, down, residual, norm."""
        levels, step = signed_bytes(attended, None, scratch)
        product = self._output(levels)
        x = self._attention_norm(torch.addcmul(residual, product, step, out=product).add_(self._output.bias))
        levels, step = signed_bytes(x, self._up_scale, scratch)
        product = self._up(levels)
        inner = self._activate(torch.addcmul(self._up.bias, product, step, out=product))
        if isinstance(self._down, PackedLinear):
            return self._norm(x.add_(self._down(inner.to(self._inside))))
        levels, step = positive_bytes(inner, self._least, _DOWN_ZERO)
        product = self._down(levels)
        return self._norm(torch.addcmul(x, product, step, out=product).add_(self._down.bias))


def _slices(count: int) -> Iterator[slice]:
    """`count` rows in parts of `_PART`."""
    return (slice(begin, min(begin + _PART, count)) for begin in range(0, count, _PART))

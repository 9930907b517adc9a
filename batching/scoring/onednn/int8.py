"""Transformer layers whose products are int8; residuals, norms and the activation stay in float32, attention in its own type.

One product of the first layer is kept out (`exact`): its errors all others carry on, and a few tokens reach far behind its activation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from batching.scoring.onednn import weights
from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.layers import WholeLayer
from batching.scoring.onednn.linear import LayerNorm, Product, stack
from batching.scoring.onednn.passes import Passes
from batching.scoring.onednn.quantise import QuantisedProduct, smoothing
from batching.scoring.onednn.rows import Rows
from batching.scoring.onednn.scratch import Scratch
from batching.types import Int32s

_SAMPLES, _SAMPLE_TOKENS = 12, 64
_QKV_STRENGTH = 0.85
_UP_STRENGTH = 0.7
"""SmoothQuant's strengths. What goes into the product up has a channel that reaches much farther than all others: with more strength its
weights would be too coarse for 8 bits."""
_DOWN_ZERO = 24
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
    reach = Reach(x.abs().amax(0), middle.abs().amax(0))
    return layer.rest.finish(middle, scratch), reach


def make_samples(vocabulary: int, longest: int) -> tuple[Int32s, Int32s]:
    """Random ids [T] and their lengths [S] to observe on: they reach channels as running text does, in any language."""
    lengths = np.full(_SAMPLES, min(_SAMPLE_TOKENS, longest), dtype=np.int32)
    return np.random.default_rng(0).integers(0, vocabulary, int(lengths.sum()), dtype=np.int32), lengths


class Int8Projection:
    """Float32 rows to several linears' products, each times its scale, in `dtype`."""

    def __init__(self, linears: list[weights.Linear], scales: list[float], reach: Tensor, dtype: torch.dtype, passes: Passes) -> None:
        """`reach` [H]: the largest values seen in each channel of what comes in."""
        factors = smoothing(reach, linears, _QKV_STRENGTH)
        self._scale = factors.reciprocal()
        self._linear = passes.quantised(stack(linears, scales), factors)
        self._dtype, self._passes = dtype, passes
        self.nbytes = self._linear.nbytes

    def __call__(self, x: Tensor, scratch: Scratch) -> Tensor:
        """`x` float32 [R, H] to [R, ...]."""
        out = scratch.take("projected", self._dtype, len(x), len(self._linear.bias))
        for part in _slices(len(x)):
            levels, steps = self._passes.signed_bytes(x[part], self._scale, scratch)
            self._passes.finish(self._linear(levels), steps, self._linear.bias, out[part])
        return out


class Int8Layer:
    """Every row in, every row out."""

    dtype = torch.float32

    def __init__(
        self, own: weights.LayerWeights, reach: Reach, heads: Heads, dtype: torch.dtype, passes: Passes, *, exact: bool = False
    ) -> None:
        """`reach`: as `observe` found it; `dtype`: attention's, float32 or bfloat16, and with `exact` that of the product down."""
        self._qkv = Int8Projection([own.query, own.key, own.value], [heads.query_scale, 1.0, 1.0], reach.incoming, dtype, passes)
        self._output = passes.quantised(own.output)
        self._attention_norm = LayerNorm(own.attention_norm)
        factors = smoothing(reach.middle, [own.up], _UP_STRENGTH)
        self._up_scale = factors.reciprocal()
        self._up = passes.quantised(own.up, factors)
        self._norm = LayerNorm(own.norm)
        self._attention, self._passes, self._inside = passes.attention(heads), passes, dtype
        self._finish: Callable[[Tensor, Tensor, Tensor, Scratch], None]
        if exact:
            down = passes.linear(own.down, dtype)
            self._finish, held = partial(self._finish_exactly, down), down.nbytes
        else:
            rounded = passes.quantised(own.down, zero=_DOWN_ZERO)
            self._finish, held = partial(self._finish_in_bytes, rounded), rounded.nbytes
        self.nbytes = held + sum(part.nbytes for part in (self._qkv, self._output, self._attention_norm, self._up, self._norm))

    def __call__(self, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """`x` float32 [R, H] to float32 [R, H], in place; a few rows at a time, so that what is between products stays in the cache."""
        attended = self._attention(self._qkv(x, scratch), rows, scratch)
        for part in _slices(rows.count):
            self._rest(attended[part], x[part], scratch)
        return x

    def _rest(self, attended: Tensor, x: Tensor, scratch: Scratch) -> None:
        """What follows attention: output, residual, norm, up, down, residual, norm; `x` is the residual and becomes the layer's output."""
        passes = self._passes
        levels, steps = passes.signed_bytes(attended, None, scratch)
        passes.finish_norm(x, self._output(levels), steps, self._output.bias, self._attention_norm)
        levels, steps = passes.signed_bytes(x, self._up_scale, scratch)
        self._finish(x, self._up(levels), steps, scratch)

    def _finish_exactly(self, down: Product, x: Tensor, product: Tensor, steps: Tensor, scratch: Scratch) -> None:
        """From the product up on, with `down` in its own type."""
        x.copy_(self._norm(x.add_(down(self._passes.activate(product, steps, self._up.bias, self._inside)))))

    def _finish_in_bytes(self, down: QuantisedProduct, x: Tensor, product: Tensor, steps: Tensor, scratch: Scratch) -> None:
        """From the product up on."""
        levels, steps = self._passes.activate_bytes(product, steps, self._up.bias, _DOWN_ZERO, scratch)
        self._passes.finish_norm(x, down(levels), steps, down.bias, self._norm)


def _slices(count: int) -> Iterator[slice]:
    """`count` rows in parts of `_PART`."""
    return (slice(begin, min(begin + _PART, count)) for begin in range(0, count, _PART))

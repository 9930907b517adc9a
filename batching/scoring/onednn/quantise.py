"""int8 products: weights with one step per output channel, activations as bytes with one step per token, sums in int32.

A token's step comes from its own values, so nothing is clipped and a token is quantised alike in any company. Channels that are much
larger than others are made smaller before rounding, and their weights larger (SmoothQuant, arXiv 2211.10438).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from batching.scoring.onednn import weights
from batching.scoring.onednn.linear import ROWS_HINT
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.share import packed

MIDDLE = 128
"""The byte that stands for 0, where values are as often below as above it."""
_LIMIT = 127
_TINY = 1e-12
_SMALL = 1e-5
_ROUNDER = 1.5 * 2.0**23
"""Added to a float32 below 2^22, it leaves the nearest whole number in the low bits."""


class QuantisedProduct(Protocol):
    """uint8 [N, in], contiguous, to their product with the weights, float32 [N, out], without steps of tokens and without `bias` [out]."""

    bias: Tensor
    nbytes: int

    def __call__(self, x: Tensor) -> Tensor: ...


def round_weights(linear: weights.Linear, factors: Tensor | None, limit: int = _LIMIT) -> tuple[Tensor, Tensor]:
    """Weights as whole numbers, float32 [out, in], the largest of every output channel `limit`, and the channels' steps, float32 [out].

    `factors` [in]: what every input channel was divided by.
    """
    weight = linear.weight.float() if factors is None else linear.weight.float() * factors
    step = weight.abs().amax(1).clamp_min(_TINY) / limit
    return torch.round(weight / step.unsqueeze(1)), step


class QuantisedLinear:
    """oneDNN's `QuantisedProduct`, for processors with VNNI: with AVX2's instructions its sums of two products overflow."""

    def __init__(self, linear: weights.Linear, factors: Tensor | None = None, zero: int = MIDDLE) -> None:
        """`factors` as in `round_weights`; `zero`: the byte that stands for 0."""
        rounded, step = round_weights(linear, factors)
        rounded = rounded.to(torch.int8)
        self._weight = packed(lambda: torch.ops.onednn.qlinear_prepack(rounded, [ROWS_HINT, rounded.shape[1]]))
        self._steps, self._zeros, self._zero = step, torch.zeros(len(step), dtype=torch.int32), zero
        self.bias = linear.bias.float()
        self.nbytes = rounded.nbytes + 12 * len(step)

    def __call__(self, x: Tensor) -> Tensor:
        """See `QuantisedProduct`; bytes, as oneDNN has no fast kernel for signed activations."""
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            x, 1.0, self._zero, self._weight, self._steps, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return result


def smoothing(reach: Tensor, consumers: list[weights.Linear], strength: float) -> Tensor:
    """What to divide each input channel by before rounding it for `consumers`: [in], about 1.

    SmoothQuant's formula; `reach` [in] is the largest value seen in each channel.
    """
    used = torch.stack([consumer.weight.float().abs().amax(0) for consumer in consumers]).amax(0).clamp_min(_SMALL)
    factors = reach.clamp_min(_SMALL) ** strength / used ** (1.0 - strength)
    return factors / factors.mean()


def signed_bytes(x: Tensor, scale: Tensor | None, scratch: Scratch) -> tuple[Tensor, Tensor]:
    """`x` [N, C] times `scale` [C] as bytes around 128, and every row's step [N, 1]."""
    scaled = scratch.take("scaled", torch.float32, *x.shape)
    if scale is None:
        scaled.copy_(x)
    else:
        torch.mul(x, scale, out=scaled)
    largest = torch.maximum(scaled.amax(1, keepdim=True), scaled.amin(1, keepdim=True).neg_()).clamp_min_(_TINY)
    return _to_bytes(scaled, _LIMIT / largest, MIDDLE), largest.div_(_LIMIT)


def positive_bytes(x: Tensor, least: float, zero: int) -> tuple[Tensor, Tensor]:
    """`x` [N, C], not below `-least`, as bytes with `zero` for 0, and every row's step [N, 1]. Overwrites `x`."""
    steps_per_one = (255 - zero) / x.amax(1, keepdim=True).clamp_min_((255 - zero) * max(least, _TINY) / max(zero, 1))
    return _to_bytes(x, steps_per_one, zero), steps_per_one.reciprocal_()


def _to_bytes(x: Tensor, factor: Tensor, zero: int) -> Tensor:
    """Round float32 values times `factor` plus `zero`, which must lie in [0, 255]. Overwrites `x`."""
    return x.mul_(factor).add_(_ROUNDER + zero).view(torch.int32).to(torch.uint8)

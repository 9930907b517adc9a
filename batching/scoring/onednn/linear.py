"""Products with weights packed once: oneDNN's own blocked layout, bias and activation computed while the result is in registers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from batching.scoring.onednn import weights
from batching.scoring.onednn.share import packed

ROWS_HINT = 2048
"""Rows that the blocked layout is chosen for; it serves all other counts as well."""
NO_ACTIVATION = ("none", "")


class Product(Protocol):
    """x [N, in], contiguous, to activation(x W^T + b) [N, out] in its type; `nbytes`: weights held."""

    nbytes: int

    def __call__(self, x: Tensor) -> Tensor: ...


class PackedLinear:
    """oneDNN's `Product`, in float32 or bfloat16."""

    def __init__(
        self, linear: weights.Linear, dtype: torch.dtype, activation: tuple[str, str] = NO_ACTIVATION, *, shared: bool = True
    ) -> None:
        """`shared`: on pages that other workers have too, where that is possible."""
        weight = linear.weight.to(dtype).contiguous()
        self.nbytes = weight.nbytes
        pack = partial(torch.ops.mkldnn._reorder_linear_weight, weight, ROWS_HINT)
        self._weight = packed(pack) if shared else pack()
        self._bias = linear.bias.to(dtype).contiguous()
        self._activation, self._algorithm = activation

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._activation, [], self._algorithm)
        return result


class LayerNorm:
    """LayerNorm with weights in float32 whatever comes in."""

    def __init__(self, norm: weights.Norm) -> None:
        self.weight, self.bias, self.epsilon = norm.weight.float(), norm.bias.float(), norm.epsilon
        self.nbytes = self.weight.nbytes + self.bias.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """`x` [N, H] to the same shape and type."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


def stack(linears: Sequence[weights.Linear], scales: Sequence[float]) -> weights.Linear:
    """One linear that computes all of `linears`, each times its scale; multiplied in float64, kept in float32."""
    weight = [linear.weight.double() * scale for linear, scale in zip(linears, scales, strict=True)]
    bias = [linear.bias.double() * scale for linear, scale in zip(linears, scales, strict=True)]
    return weights.Linear(torch.cat(weight).float(), torch.cat(bias).float())

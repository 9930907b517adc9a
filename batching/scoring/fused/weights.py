"""An encoder's weights as the fused forward multiplies by them: query, key and value side by side, in half precision or float8."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from batching.scoring.float8 import LARGEST, quantise_rows
from batching.scoring.onednn import weights as named

SLACK = 1.1
"""For the rounding of weights and of what they are multiplied by."""


@dataclass(frozen=True, slots=True)
class Product:
    """`weight` [out, in] in the number type of the product, `scale` float32 [out, 1] where that is float8, `bias` [out]."""

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(part.nbytes for part in (self.weight, self.bias, self.scale) if part is not None)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer; `mix` is query, key and value. `step`: the scale of attention's output for a float8 product."""

    mix: Product
    step: float | None
    output: Product
    attention_norm: named.Norm
    up: Product
    down: Product
    norm: named.Norm


def layer_of(own: named.LayerWeights, before: named.Norm, *, float8: bool) -> Layer:
    """One layer's weights, laid out for four products; `before` is the norm that its input has passed."""
    mix = (own.query, own.key, own.value)
    return Layer(
        mix=_product(torch.cat([one.weight for one in mix]), torch.cat([one.bias for one in mix]), float8=float8),
        step=_step(own.value, before) if float8 else None,
        output=_product(own.output.weight, own.output.bias, float8=float8),
        attention_norm=own.attention_norm,
        up=_product(own.up.weight, own.up.bias, float8=float8),
        down=_product(own.down.weight, own.down.bias, float8=float8),
        norm=own.norm,
    )


def _step(value: named.Linear, before: named.Norm) -> float:
    """A scale that attention's output can't exceed, from the weights alone.

    The output is a mean of values, and a value is W (g * z + b) + c with |z| at most sqrt(H) behind a norm. That bound is a hundred times
    what is met, which costs e4m3 nothing: it has the same three bits over fifteen octaves.
    """
    weight, gain, shift = value.weight.float(), before.weight.float(), before.bias.float()
    reach = (weight * gain).norm(dim=1) * weight.shape[1] ** 0.5 + (weight @ shift + value.bias.float()).abs()
    return float(reach.max()) * SLACK / LARGEST


def part(product: Product, begin: int, end: int) -> Product:
    """The rows [begin, end) of a product's output."""
    scale = None if product.scale is None else product.scale[begin:end]
    return Product(product.weight[begin:end], product.bias[begin:end], scale)


def _product(weight: Tensor, bias: Tensor, *, float8: bool) -> Product:
    if not float8:
        return Product(weight.contiguous(), bias)
    quantised, scale = quantise_rows(weight)
    return Product(quantised.contiguous(), bias, scale)

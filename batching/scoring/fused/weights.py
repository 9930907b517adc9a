"""An encoder's weights as the fused forward multiplies by them: query, key and value side by side, in half precision or float8."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from batching.scoring.float8 import quantise_rows
from batching.scoring.onednn import weights as named


@dataclass(frozen=True, slots=True)
class Norm:
    """A LayerNorm's `weight` and `bias` [H]."""

    weight: Tensor
    bias: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class Tables:
    """Embedding tables [entries, H] and the norm of their sum."""

    words: Tensor
    positions: Tensor
    types: Tensor
    norm: Norm


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
    """One transformer layer; `mix` is query, key and value."""

    mix: Product
    output: Product
    attention_norm: Norm
    up: Product
    down: Product
    norm: Norm


def tables_of(own: named.EmbeddingWeights) -> Tables:
    """The tables as they are."""
    return Tables(own.words, own.positions, own.types, _norm(own.norm))


def layer_of(own: named.LayerWeights, *, float8: bool) -> Layer:
    """One layer's weights, laid out for four products."""
    mix = (own.query, own.key, own.value)
    return Layer(
        mix=_product(torch.cat([one.weight for one in mix]), torch.cat([one.bias for one in mix]), float8=float8),
        output=_product(own.output.weight, own.output.bias, float8=float8),
        attention_norm=_norm(own.attention_norm),
        up=_product(own.up.weight, own.up.bias, float8=float8),
        down=_product(own.down.weight, own.down.bias, float8=float8),
        norm=_norm(own.norm),
    )


def part(product: Product, begin: int, end: int) -> Product:
    """The rows [begin, end) of a product's output."""
    scale = None if product.scale is None else product.scale[begin:end]
    return Product(product.weight[begin:end], product.bias[begin:end], scale)


def _product(weight: Tensor, bias: Tensor, *, float8: bool) -> Product:
    if not float8:
        return Product(weight.contiguous(), bias)
    quantised, scale = quantise_rows(weight)
    return Product(quantised.contiguous(), bias, scale)


def _norm(own: named.Norm) -> Norm:
    return Norm(own.weight, own.bias, own.epsilon)

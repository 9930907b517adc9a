"""What a layer is made of: products, and between them attention, residuals with their norms, and numbers to bytes and back.

Here oneDNN's products and torch's operators. `simd.SimdPasses` is the same in fewer passes over memory, for processors that have the
instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from batching.scoring.onednn.attention import Heads, bfloat16_attention, float32_attention, read_attention, softmax_attention, sound
from batching.scoring.onednn.linear import NO_ACTIVATION, LayerNorm, PackedLinear, Product
from batching.scoring.onednn.quantise import MIDDLE, QuantisedLinear, QuantisedProduct, positive_bytes, signed_bytes
from batching.scoring.onednn.rows import Rows
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.weights import Linear

Attend = Callable[[Tensor, Rows, Scratch], Tensor]
"""`qkv` [R, 3H], queries times `Heads.query_scale`, to [R, H] of its type; the padding is zero."""
ACTIVATIONS: dict[tuple[str, str], tuple[Callable[[Tensor], Tensor], float]] = {
    ("gelu", "none"): (torch.ops.aten.gelu_, 0.17),
    ("gelu", "tanh"): (lambda x: torch.ops.aten.gelu_(x, approximate="tanh"), 0.1701),
    ("swish", ""): (torch.ops.aten.silu_, 0.2785),
    ("relu", ""): (torch.ops.aten.relu_, 0.0),
}
"""In place, and how far below 0 each can go."""


class Passes(Protocol):
    """N rows at a time. int8 products come in float32, `steps` [N, 1] behind them; what was handed in may be overwritten."""

    name: str
    """How operators are told."""

    def linear(self, own: Linear, dtype: torch.dtype, activation: tuple[str, str] = NO_ACTIVATION) -> Product:
        """A product with these weights, packed."""

    def quantised(self, own: Linear, factors: Tensor | None = None, zero: int = MIDDLE) -> QuantisedProduct:
        """The same in int8; `factors` [in]: what every input channel was divided by, `zero`: the byte that stands for 0."""

    def any_rows(self, dtype: torch.dtype) -> bool:
        """Whether products of an encoder of `dtype` take any number of rows as it is; else something is kept for each that occurs."""

    def attention(self, heads: Heads) -> Attend:
        """One layer's attention."""

    def read_attention(self, query: Tensor, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """`query` [S, N, H], N rows for every sequence, over its rows of `x` [R, H], keys and values alike, to [S, N, H]."""

    def residual_norm(self, product: Tensor, residual: Tensor, norm: LayerNorm, scratch: Scratch) -> Tensor:
        """`norm` of the sum of both [N, H], in their type."""

    def signed_bytes(self, x: Tensor, scale: Tensor | None, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """`x` [N, C] times `scale` [C] as bytes around 128, and every row's step [N, 1]."""

    def finish(self, product: Tensor, steps: Tensor, bias: Tensor, out: Tensor) -> None:
        """`product` [N, C] times `steps` plus `bias` [C] into `out`, in its type."""

    def finish_norm(self, x: Tensor, product: Tensor, steps: Tensor, bias: Tensor, norm: LayerNorm) -> None:
        """`norm` of the residual `x` float32 [N, H] and the finished product, into `x`."""

    def activate(self, product: Tensor, steps: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """The activation of the finished product, in `dtype`."""

    def activate_bytes(self, product: Tensor, steps: Tensor, bias: Tensor, zero: int, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """The activation of the finished product as bytes with `zero` for 0, and every row's step."""


class TorchAttention:
    """One layer's attention. A layer whose logits once left the range of exp2 keeps to the ordinary softmax from then on."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self.plain = False

    def __call__(self, qkv: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """See `Attend`."""
        out = scratch.take("attended", qkv.dtype, rows.count, self._heads.width)
        out[rows.tokens :].zero_()
        if not self.plain:
            attend = bfloat16_attention if qkv.dtype == torch.bfloat16 else float32_attention
            self.plain = not sound(attend(qkv, rows, self._heads, out, scratch))
        if self.plain:
            softmax_attention(qkv, rows, self._heads, out)
        return out


class TorchPasses:
    """See `Passes`."""

    name = "onednn"

    def __init__(self, activation: tuple[str, str]) -> None:
        self._activate, self._least = ACTIVATIONS[activation]

    def linear(self, own: Linear, dtype: torch.dtype, activation: tuple[str, str] = NO_ACTIVATION) -> Product:
        """See `Passes`."""
        return PackedLinear(own, dtype, activation)

    def quantised(self, own: Linear, factors: Tensor | None = None, zero: int = MIDDLE) -> QuantisedProduct:
        """See `Passes`."""
        return QuantisedLinear(own, factors, zero)

    def any_rows(self, dtype: torch.dtype) -> bool:
        """See `Passes`."""
        return False

    def attention(self, heads: Heads) -> Attend:
        """See `Passes`."""
        return TorchAttention(heads)

    def read_attention(self, query: Tensor, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """See `Passes`."""
        out = torch.empty_like(query)
        read_attention(query, x, rows, out)
        return out

    def residual_norm(self, product: Tensor, residual: Tensor, norm: LayerNorm, scratch: Scratch) -> Tensor:
        """See `Passes`."""
        return norm(product.add_(residual))

    def signed_bytes(self, x: Tensor, scale: Tensor | None, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """See `Passes`."""
        return signed_bytes(x, scale, scratch)

    def finish(self, product: Tensor, steps: Tensor, bias: Tensor, out: Tensor) -> None:
        """See `Passes`."""
        out.copy_(torch.addcmul(bias, product, steps, out=product))

    def finish_norm(self, x: Tensor, product: Tensor, steps: Tensor, bias: Tensor, norm: LayerNorm) -> None:
        """See `Passes`."""
        x.copy_(norm(torch.addcmul(x, product, steps, out=product).add_(bias)))

    def activate(self, product: Tensor, steps: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Passes`."""
        return self._activate(torch.addcmul(bias, product, steps, out=product)).to(dtype)

    def activate_bytes(self, product: Tensor, steps: Tensor, bias: Tensor, zero: int, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """See `Passes`."""
        return positive_bytes(self.activate(product, steps, bias, torch.float32), self._least, zero)

"""The C of `csrc` as `Passes`, for x86 processors with AVX-512 and its bfloat16, or with AVX2.

Without the library `lacking` says so, and torch's operators do the work. Attention takes the largest logit off first, so it has no range to
leave, and holds one sequence's head at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.library import MULTIPLYING, Functions, functions, missing, usable
from batching.scoring.onednn.linear import NO_ACTIVATION, LayerNorm, PackedLinear, Product
from batching.scoring.onednn.passes import ACTIVATIONS, Attend
from batching.scoring.onednn.quantise import MIDDLE, QuantisedLinear, QuantisedProduct, round_weights
from batching.scoring.onednn.rows import Rows, round_up
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.share import packed
from batching.scoring.onednn.weights import EncoderWeights, Linear

_LANES = 16
"""Numbers in the widest register: what every width must be a multiple of."""
_LARGEST_WEIGHT, _LARGEST_SUM = 2**15 - 1, 2**31 - 1
_WIDENED = 192
"""Rows of bytes that are widened at once, so that they still are in the cache when they are multiplied."""
_LOGITS = 9
"""Numbers that attention holds for every key, beside the key and its value."""


def lacking(own: EncoderWeights, dtype: torch.dtype, *, int8: bool) -> str | None:
    """Why these passes can't serve an encoder of `dtype` (with `int8` products), in one line; None when they can."""
    inner, width = own.layers[0].up.weight.shape
    if any(size % _LANES for size in (width, width // own.heads, inner)):
        return f"a width or a head size is not a multiple of {_LANES}"
    if int8 and own.activation != ("gelu", "none"):
        return "with int8 products they know GELU only"
    return missing()


class SimdLinear:
    """Our own `Product`, in float32; one thread."""

    def __init__(self, linear: Linear, activation: tuple[str, str], call: Functions) -> None:
        weight = linear.weight.float().contiguous()
        self._bias = linear.bias.float().contiguous()
        self.nbytes = weight.nbytes + self._bias.nbytes
        self._panels = packed(lambda: _panels(weight, call["pack_float32"]))
        inside = activation == ("gelu", "none")
        self._activate = None if inside or activation == NO_ACTIVATION else ACTIVATIONS[activation][0]
        self._product = call["product_gelu_float32" if inside else "product_float32"]

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        count, inside, out = len(x), x.shape[1], len(self._bias)
        result = torch.empty(count, out)
        self._product(x.data_ptr(), self._panels.data_ptr(), self._bias.data_ptr(), count, inside, out, result.data_ptr())
        return result if self._activate is None else self._activate(result)


class SimdQuantisedLinear:
    """Our own `QuantisedProduct`; one thread. The registers hold 16 bits of a weight, so that it has as many as its sums leave room for."""

    def __init__(self, linear: Linear, factors: Tensor | None, zero: int, call: Functions) -> None:
        """`factors` as in `round_weights`; `zero`: the byte that stands for 0."""
        rounded, self._steps = round_weights(linear, factors, min(_LARGEST_WEIGHT, _LARGEST_SUM // (255 * linear.weight.shape[1])))
        self.bias, self._zero = linear.bias.float(), zero
        self._panels = packed(lambda: _panels(rounded.to(torch.int16), call["pack_int16"], torch.int16))
        self._product = call["product_bytes"]
        self.nbytes = self._panels.nbytes + self._steps.nbytes + self.bias.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """See `QuantisedProduct`."""
        (count, inside), out = x.shape, len(self.bias)
        result, wide = torch.empty(count, out), torch.empty(min(count, _WIDENED), inside, dtype=torch.int16)
        addresses = (tensor.data_ptr() for tensor in (x, self._panels, self._steps))
        self._product(*addresses, count, inside, out, self._zero, wide.data_ptr(), len(wide), result.data_ptr())
        return result


def _panels(weight: Tensor, pack: Callable[..., None], dtype: torch.dtype = torch.float32) -> Tensor:
    """`weight` [out, in] as products read it."""
    found = torch.empty(weight.numel(), dtype=dtype)
    pack(weight.data_ptr(), *weight.shape, found.data_ptr())
    return found


class SimdPasses:
    """See `Passes`; what is handed in is contiguous, and serves a model that `lacking` has nothing against."""

    def __init__(self, registers: str | None = None, *, products: bool = False) -> None:
        """`registers`: of `usable`, None for the best. `products`: those of float32 and of bytes are computed here, too, with the
        registers that do that.

        Raises RuntimeError where `missing` has a reason.
        """
        self.registers = MULTIPLYING if products else registers or next(iter(usable()), MULTIPLYING)
        self._call = functions(self.registers)
        self._products = products
        self._least = ACTIVATIONS["gelu", "none"][1]
        self.name = "simd" if products else "onednn+simd"

    def linear(self, own: Linear, dtype: torch.dtype, activation: tuple[str, str] = NO_ACTIVATION) -> Product:
        """See `Passes`."""
        if self._products and dtype == torch.float32:
            return SimdLinear(own, activation, self._call)
        return PackedLinear(own, dtype, activation)

    def quantised(self, own: Linear, factors: Tensor | None = None, zero: int = MIDDLE) -> QuantisedProduct:
        """See `Passes`."""
        return SimdQuantisedLinear(own, factors, zero, self._call) if self._products else QuantisedLinear(own, factors, zero)

    def any_rows(self, dtype: torch.dtype) -> bool:
        """See `Passes`."""
        return self._products and dtype == torch.float32

    def attention(self, heads: Heads) -> Attend:
        """See `Passes`."""
        return partial(self._attention, heads)

    def read_attention(self, query: Tensor, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """See `Passes`."""
        out = torch.empty_like(query)
        sequences, each, width = query.shape
        firsts, counts = np.arange(0, sequences * each, each), np.full(sequences, each, dtype=np.int64)
        states = x.data_ptr()
        self._attend(query.view(-1, width), firsts, counts, states, states, width, rows, Heads(1, width), scratch, out)
        return out

    def residual_norm(self, product: Tensor, residual: Tensor, norm: LayerNorm, scratch: Scratch) -> Tensor:
        """See `Passes`; in place of `product`."""
        pointers = (tensor.data_ptr() for tensor in (residual, product, norm.weight, norm.bias))
        if product.dtype == torch.float32:
            self._call["sum_norm_float32"](*pointers, norm.epsilon, *product.shape)
        else:
            row = scratch.take("row", torch.float32, product.shape[1])
            self._call["sum_norm_bfloat16"](*pointers, norm.epsilon, *product.shape, row.data_ptr())
        return product

    def signed_bytes(self, x: Tensor, scale: Tensor | None, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """See `Passes`."""
        count, width = x.shape
        levels, steps = scratch.take("levels", torch.uint8, count, width), scratch.take("steps", torch.float32, count, 1)
        if x.dtype == torch.float32:
            factors = None if scale is None else scale.data_ptr()
            self._call["signed_float32"](x.data_ptr(), factors, count, width, levels.data_ptr(), steps.data_ptr())
        else:
            row = scratch.take("row", torch.float32, width)
            self._call["signed_bfloat16"](x.data_ptr(), count, width, row.data_ptr(), levels.data_ptr(), steps.data_ptr())
        return levels, steps

    def finish(self, product: Tensor, steps: Tensor, bias: Tensor, out: Tensor) -> None:
        """See `Passes`."""
        self._of("finish", out.dtype)(product.data_ptr(), steps.data_ptr(), bias.data_ptr(), *product.shape, out.data_ptr())

    def finish_norm(self, x: Tensor, product: Tensor, steps: Tensor, bias: Tensor, norm: LayerNorm) -> None:
        """See `Passes`."""
        pointers = (tensor.data_ptr() for tensor in (x, product, steps, bias, norm.weight, norm.bias))
        self._call["finish_norm"](*pointers, norm.epsilon, *product.shape)

    def activate(self, product: Tensor, steps: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Passes`."""
        out = torch.empty(product.shape, dtype=dtype)
        self._of("gelu", dtype)(product.data_ptr(), steps.data_ptr(), bias.data_ptr(), *product.shape, out.data_ptr())
        return out

    def activate_bytes(self, product: Tensor, steps: Tensor, bias: Tensor, zero: int, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """See `Passes`."""
        count, width = product.shape
        levels, found = scratch.take("inner levels", torch.uint8, count, width), scratch.take("inner steps", torch.float32, count, 1)
        smallest = (255 - zero) * self._least / zero
        self._call["gelu_bytes"](
            product.data_ptr(), steps.data_ptr(), bias.data_ptr(), count, width, smallest, zero, levels.data_ptr(), found.data_ptr()
        )
        return levels, found

    def _of(self, name: str, dtype: torch.dtype) -> Callable[..., None]:
        """The function for numbers of `dtype`."""
        return self._call[f"{name}_{str(dtype).removeprefix('torch.')}"]

    def _attention(self, heads: Heads, qkv: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """See `Attend`."""
        out = scratch.take("attended", qkv.dtype, rows.count, heads.width)
        out[rows.tokens :].zero_()
        key = qkv.data_ptr() + heads.width * qkv.element_size()
        value = key + heads.width * qkv.element_size()
        self._attend(qkv, *rows.spans, key, value, qkv.stride(0), rows, heads, scratch, out)
        return out

    def _attend(
        self,
        query: Tensor,
        firsts: NDArray[np.int64],
        counts: NDArray[np.int64],
        key: int,
        value: int,
        stride: int,
        rows: Rows,
        heads: Heads,
        scratch: Scratch,
        out: Tensor,
    ) -> None:
        """`counts` queries of each sequence from row `firsts` on; `key` and `value` are addresses, their rows `stride` numbers apart."""
        per_unit = 4 // query.element_size()
        starts, lengths = rows.spans
        memory = scratch.take("attention", torch.float32, round_up(rows.lengths[-1], _LANES) * (2 * heads.size + _LOGITS))
        self._of("attend", query.dtype)(
            query.data_ptr(), query.stride(0) // per_unit, firsts.ctypes.data, counts.ctypes.data, key, value, stride // per_unit,
            starts.ctypes.data, lengths.ctypes.data, len(starts), heads.count, heads.size, memory.data_ptr(), out.data_ptr(),
        )  # fmt: skip

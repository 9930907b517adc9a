"""`simd.c` as `Passes`, for x86 processors with AVX-512 and its bfloat16.

The library is built when the package is installed, where there is a C compiler; without it `lacking` says so and torch's operators do the
work. Attention takes the largest logit off first, so it has no range to leave, and holds one sequence's head at a time.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_long, c_void_p
from functools import cache, partial
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.linear import LayerNorm
from batching.scoring.onednn.passes import ACTIVATIONS, Attend
from batching.scoring.onednn.rows import Rows, round_up
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.weights import EncoderWeights

LIBRARY = "batching.scoring.onednn._simd"
_LANES = 16
"""Numbers in a register: what every width must be a multiple of."""
_LOGITS = 9
"""Numbers that attention holds for every key, beside the key and its value."""
_ATTEND = (c_void_p, c_long, c_void_p, c_void_p, c_void_p, c_void_p, c_long, c_void_p, c_void_p, c_long, c_long, c_long, c_void_p, c_void_p)
_SIGNATURES = {
    "simd_attend_bfloat16": _ATTEND,
    "simd_attend_float32": _ATTEND,
    "simd_sum_norm_bfloat16": (c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_long, c_long, c_void_p),
    "simd_sum_norm_float32": (c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_long, c_long),
    "simd_finish_norm": (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_float, c_long, c_long),
    "simd_signed_float32": (c_void_p, c_void_p, c_long, c_long, c_void_p, c_void_p),
    "simd_signed_bfloat16": (c_void_p, c_long, c_long, c_void_p, c_void_p, c_void_p),
    "simd_finish": (c_void_p, c_void_p, c_void_p, c_long, c_long, c_void_p),
    "simd_gelu_bfloat16": (c_void_p, c_void_p, c_void_p, c_long, c_long, c_void_p),
    "simd_gelu_bytes": (c_void_p, c_void_p, c_void_p, c_long, c_long, c_float, c_int, c_void_p, c_void_p),
}


def missing() -> str | None:
    """Why this installation or this processor has none of these passes, in one line; None when they are there."""
    library = _library()
    if library is None:
        return "the package was installed without a C compiler"
    return None if library.simd_supported() else "this processor has no AVX-512 with bfloat16"


def lacking(own: EncoderWeights, dtype: torch.dtype, *, int8: bool) -> str | None:
    """Why these passes can't serve an encoder of `dtype` (with `int8` products), in one line; None when they can."""
    inner, width = own.layers[0].up.weight.shape
    if any(size % _LANES for size in (width, width // own.heads, inner)):
        return f"a width or a head size is not a multiple of {_LANES}"
    if int8 and dtype != torch.bfloat16:
        return "with int8 products they know attention in bfloat16 only"
    if int8 and own.activation != ("gelu", "none"):
        return "with int8 products they know GELU only"
    return missing()


@cache
def _library() -> ctypes.CDLL | None:
    spec = find_spec(LIBRARY)
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    for name, arguments in _SIGNATURES.items():
        if hasattr(library, name):
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
    return library


class SimdPasses:
    """See `Passes`; what is handed in is contiguous, and serves a model that `lacking` has nothing against."""

    suffix = "+simd"

    def __init__(self) -> None:
        """Raises RuntimeError where `missing` has a reason."""
        library, reason = _library(), missing()
        if library is None or reason is not None:
            raise RuntimeError(reason)
        self._call = library
        self._least = ACTIVATIONS["gelu", "none"][1]

    def attention(self, heads: Heads) -> Attend:
        """See `Passes`."""
        return partial(self._attention, heads)

    def first_attention(self, query: Tensor, key_value: Tensor, rows: Rows, heads: Heads, scratch: Scratch) -> Tensor:
        """See `Passes`."""
        out = torch.zeros_like(query)
        count, key = len(rows.lengths), key_value.data_ptr()
        value = key + heads.width * key_value.element_size()
        firsts, counts = np.arange(count), np.ones(count, dtype=np.int64)
        self._attend(query, firsts, counts, key, value, key_value.stride(0), rows, heads, scratch, out)
        return out

    def residual_norm(self, product: Tensor, residual: Tensor, norm: LayerNorm, scratch: Scratch) -> Tensor:
        """See `Passes`; in place of `product`."""
        pointers = (tensor.data_ptr() for tensor in (residual, product, norm.weight, norm.bias))
        if product.dtype == torch.float32:
            self._call.simd_sum_norm_float32(*pointers, norm.epsilon, *product.shape)
        else:
            row = scratch.take("row", torch.float32, product.shape[1])
            self._call.simd_sum_norm_bfloat16(*pointers, norm.epsilon, *product.shape, row.data_ptr())
        return product

    def signed_bytes(self, x: Tensor, scale: Tensor | None, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """See `Passes`."""
        count, width = x.shape
        levels, steps = scratch.take("levels", torch.uint8, count, width), scratch.take("steps", torch.float32, count, 1)
        if x.dtype == torch.float32:
            factors = None if scale is None else scale.data_ptr()
            self._call.simd_signed_float32(x.data_ptr(), factors, count, width, levels.data_ptr(), steps.data_ptr())
        else:
            row = scratch.take("row", torch.float32, width)
            self._call.simd_signed_bfloat16(x.data_ptr(), count, width, row.data_ptr(), levels.data_ptr(), steps.data_ptr())
        return levels, steps

    def finish(self, product: Tensor, steps: Tensor, bias: Tensor, out: Tensor) -> None:
        """See `Passes`; `out` is bfloat16."""
        self._call.simd_finish(product.data_ptr(), steps.data_ptr(), bias.data_ptr(), *product.shape, out.data_ptr())

    def finish_norm(self, x: Tensor, product: Tensor, steps: Tensor, bias: Tensor, norm: LayerNorm) -> None:
        """See `Passes`."""
        pointers = (tensor.data_ptr() for tensor in (x, product, steps, bias, norm.weight, norm.bias))
        self._call.simd_finish_norm(*pointers, norm.epsilon, *product.shape)

    def activate(self, product: Tensor, steps: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """See `Passes`; `dtype` is bfloat16."""
        out = torch.empty(product.shape, dtype=dtype)
        self._call.simd_gelu_bfloat16(product.data_ptr(), steps.data_ptr(), bias.data_ptr(), *product.shape, out.data_ptr())
        return out

    def activate_bytes(self, product: Tensor, steps: Tensor, bias: Tensor, zero: int, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """See `Passes`."""
        count, width = product.shape
        levels, found = scratch.take("inner levels", torch.uint8, count, width), scratch.take("inner steps", torch.float32, count, 1)
        smallest = (255 - zero) * self._least / zero
        self._call.simd_gelu_bytes(
            product.data_ptr(), steps.data_ptr(), bias.data_ptr(), count, width, smallest, zero, levels.data_ptr(), found.data_ptr()
        )
        return levels, found

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
        call = self._call.simd_attend_float32 if query.dtype == torch.float32 else self._call.simd_attend_bfloat16
        call(
            query.data_ptr(), query.stride(0) // per_unit, firsts.ctypes.data, counts.ctypes.data, key, value, stride // per_unit,
            starts.ctypes.data, lengths.ctypes.data, len(starts), heads.count, heads.size, memory.data_ptr(), out.data_ptr(),
        )  # fmt: skip

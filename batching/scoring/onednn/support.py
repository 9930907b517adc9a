"""What the packed CPU forward needs of this build of torch and of this processor."""

from __future__ import annotations

import torch

from batching.scoring.onednn.library import missing

_PACKED = (("mkldnn", "_reorder_linear_weight"), ("mkldnn", "_linear_pointwise"), ("aten", "_scaled_dot_product_flash_attention_for_cpu"))
_QUANTISED = (("onednn", "qlinear_prepack"), ("onednn", "qlinear_pointwise"))


def available(dtype: torch.dtype = torch.float32, *, int8: bool = False) -> str | None:
    """Why the packed forward can't run in `dtype` (or with `int8` weights) on this machine, in one line; None when it can.

    bfloat16 is refused where the processor lacks its instructions: it would run, slower than float32. int8 needs VNNI, or our own products.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        return f"the packed CPU forward runs in float32 or bfloat16, not {str(dtype).removeprefix('torch.')}"
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return "this build of torch is without oneDNN"
    needed = (*_PACKED, *_QUANTISED) if int8 and has_vnni() else _PACKED
    absent = [name for space, name in needed if not hasattr(getattr(torch.ops, space), name)]
    if absent:
        return f"torch {torch.__version__} has no operator {absent[0]}"
    if dtype == torch.bfloat16 and not has_bfloat16():
        return "this processor has no bfloat16 instructions"
    if int8 and not has_vnni() and (reason := missing()) is not None:
        return f"this processor has no int8 dot products (AVX-512 VNNI), and ours are not there: {reason}"
    return None


def has_bfloat16() -> bool:
    """If the processor has instructions for it; without them every operation goes by way of float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def has_vnni() -> bool:
    """If the processor multiplies bytes without overflow, which oneDNN's int8 products need."""
    return torch.cpu._is_vnni_supported()

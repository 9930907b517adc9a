"""The one attention function that every Hugging Face model here runs on, and the choice of the kernel behind it.

Registered under a name of its own, so transformers builds no mask for it (models.md 6.2) and hands over q, k, v and every extra keyword of
the forward call; the pack's `Segments` travel in one of those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from batching.errors import SettingError
from batching.scoring.compiled import Told, attend_told
from batching.scoring.kernels import HALF, EqualRuns, VarlenKernel, attend_veiled, flash_varlen, torch_varlen
from batching.scoring.options import AttentionChoice
from batching.scoring.segments import How, Kernel, Segments

NAME = "packed_varlen"
RUNS = EqualRuns()


def packed_varlen(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend within a pack; the signature and shapes are transformers' AttentionInterface, q [1, Hq, T, D] to [1, T, Hq, D].

    The keyword `is_causal` wins over the module's flag: bidirectional decoders leave the flag True.
    """
    segments: Segments | Told = kwargs["segments"]
    causal = kwargs.get("is_causal")
    scale = kwargs.get("scaling")
    how = How(
        causal=bool(getattr(module, "is_causal", False) if causal is None else causal),
        window=kwargs.get("sliding_window"),
        scale=query.shape[-1] ** -0.5 if scale is None else float(scale),
        softcap=kwargs.get("softcap"),
    )
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if isinstance(segments, tuple):
        return attend_told(q, k, v, segments, how).unsqueeze(0), None
    kernel = segments.kernel if segments.kernel.serves(q, segments, how) else RUNS
    out = kernel(q, k, v, segments, how)
    if segments.veil is not None:
        out = attend_veiled(q, k, v, segments, segments.veil, out, how)
    return out.unsqueeze(0), None


def choose_kernel(device: torch.device, dtype: torch.dtype, choice: AttentionChoice) -> Kernel:
    """The best kernel that is there for `device` and `dtype`; raises SettingError when the one asked for is not."""
    candidates: list[tuple[AttentionChoice, Callable[[], Kernel | None]]] = [("flash", _flash), ("varlen", _varlen)]
    if choice == "runs" or (choice == "auto" and not _flash_device(device, dtype)):
        return RUNS
    if not _flash_device(device, dtype):
        raise SettingError(f"attention {choice!r} needs float16 or bfloat16 on CUDA of compute capability 8.0 or newer; use 'auto'")
    for name, find in candidates:
        kernel = find() if choice in ("auto", name) else None
        if kernel is not None:
            return kernel
    if choice != "auto":
        raise SettingError(f"attention {choice!r} is not installed; use 'auto'")
    return RUNS


def _flash_device(device: torch.device, dtype: torch.dtype) -> bool:
    """If FlashAttention's kernels run on `device` in `dtype`."""
    return dtype in HALF and device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def _flash() -> Kernel | None:
    """The flash-attn package's kernel, if it is installed."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None
    return VarlenKernel("flash-attn", flash_varlen(flash_attn_varlen_func), softcap=True)


def _varlen() -> Kernel | None:
    """torch's own varlen kernel, if this release has it."""
    try:
        from torch.nn.attention.varlen import AuxRequest, varlen_attn
    except ImportError:
        return None
    return VarlenKernel("torch-varlen", torch_varlen(varlen_attn, AuxRequest(lse=True)))


AttentionInterface.register(NAME, packed_varlen)

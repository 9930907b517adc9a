"""Attention written the slow, obvious way, one sequence at a time, and stand-ins for the CUDA varlen kernels made of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool, window: tuple[int, int], softcap: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One sequence: q [Lq, H, D], k and v [Lk, Hkv, D], the queries being the last of the keys; output [Lq, H, D] and lse [H, Lq]."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    logits = torch.einsum("qhd,khd->hqk", q.double(), k.double()) * scale
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    apart = torch.arange(k.shape[0])[None, :] - (torch.arange(q.shape[0]) + k.shape[0] - q.shape[0])[:, None]
    left, right = window
    hidden = torch.zeros_like(apart, dtype=torch.bool)
    if left >= 0:
        hidden |= -apart > left
    if causal:
        right = 0
    if right >= 0:
        hidden |= apart > right
    logits = logits.masked_fill(hidden, float("-inf"))
    out = torch.einsum("hqk,khd->qhd", logits.softmax(-1), v.double())
    return out.to(q.dtype), logits.logsumexp(-1).float()


def _each(q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    """All sequences of a varlen call."""
    parts = [
        attend(q[a:b], k[c:d], v[c:d], **how)
        for (a, b), (c, d) in zip(
            torch.stack([cu_q[:-1], cu_q[1:]], 1).tolist(), torch.stack([cu_k[:-1], cu_k[1:]], 1).tolist(), strict=True
        )
    ]
    return torch.cat([out for out, _ in parts]), torch.cat([lse for _, lse in parts], dim=1)


def varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> Any:
    """torch 2.12's `torch.nn.attention.varlen.varlen_attn` on the CPU."""
    if not enable_gqa and query.shape[1] != key.shape[1]:
        raise ValueError("query and key/value must have the same number of heads")
    if max_q < int((cu_seq_q[1:] - cu_seq_q[:-1]).max()) or max_k < int((cu_seq_k[1:] - cu_seq_k[:-1]).max()):
        raise ValueError("a sequence is longer than the longest")
    out, lse = _each(query, key, value, cu_seq_q, cu_seq_k, scale=scale or query.shape[-1] ** -0.5, causal=False, window=window_size)
    return (out, lse) if return_aux is not None and return_aux.lse else out


def old_varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Any:
    """A release without `enable_gqa`."""
    return varlen_attn(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, return_aux=return_aux, scale=scale, window_size=window_size
    )  # fmt: skip


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    return_attn_probs: bool = False,
) -> Any:
    """flash-attn 2's varlen function on the CPU."""
    scale = softmax_scale or q.shape[-1] ** -0.5
    out, lse = _each(q, k, v, cu_seqlens_q, cu_seqlens_k, scale=scale, causal=causal, window=window_size, softcap=softcap)
    return (out, lse, None) if return_attn_probs else out

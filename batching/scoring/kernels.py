"""Attention over packed sequences: SDPA on runs of equal length, and the two CUDA varlen kernels.

All take one row of tokens and keep sequences apart; a token behind a shared prefix sees that prefix whole and its own past.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from batching.scoring.layout import NOWHERE, Run
from batching.scoring.segments import How, Segments, SharedRows, Veil

HALF = (torch.float16, torch.bfloat16)
MAX_HEAD = 256


class EqualRuns:
    """SDPA over runs of equal length: no padding and no mask for most layers; any device, any number type."""

    name = "sdpa-runs"
    sorts = True

    def serves(self, query: Tensor, segments: Segments, how: How) -> bool:
        """See `Kernel`."""
        return True

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: How) -> Tensor:
        """See `Kernel`."""
        runs = segments.layout.runs
        if len(runs) == 1:
            return self._run(query, key, value, segments, how, runs[0])
        out = torch.empty_like(query, memory_format=torch.contiguous_format)
        for run in runs:
            end = run.start + run.count * run.length
            out[run.start : end] = self._run(query, key, value, segments, how, run)
        return out

    def _run(self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: How, run: Run) -> Tensor:
        """One run, [count * length, Hq, D]."""
        q, k, v = (_batch(states, run.start, run.count, run.length) for states in (query, key, value))
        if run.prefix != NOWHERE:
            start, end = (int(segments.layout.offsets[run.prefix + i]) for i in (0, 1))
            k, v = (_behind(states, own, start, end) for states, own in ((key, k), (value, v)))
        attended = _attend(q, k, v, segments, how)
        return attended.transpose(1, 2).reshape(run.count * run.length, query.shape[1], query.shape[2])


def _batch(states: Tensor, start: int, count: int, length: int) -> Tensor:
    """The run's rows of [T, H, D] as [count, H, length, D], without a copy."""
    return states[start : start + count * length].unflatten(0, (count, length)).transpose(1, 2)


def _behind(states: Tensor, own: Tensor, start: int, end: int) -> Tensor:
    """The prefix rows [start, end) put before each sequence's own keys, [count, H, prefix + length, D]."""
    prefix = states[start:end].transpose(0, 1).expand(own.shape[0], -1, -1, -1)
    return torch.cat([prefix, own], dim=2)


def _attend(q: Tensor, k: Tensor, v: Tensor, segments: Segments, how: How) -> Tensor:
    """Attention inside equal-length sequences, [n, H, Lq, D]; the mask only where causality and window leave something out."""
    queries, keys = q.shape[2], k.shape[2]
    windowed = how.window is not None and how.window < keys
    if how.softcap is not None:
        return _softcapped(q, k, v, segments.mask(queries, keys, how), how)
    groups = q.shape[1] // k.shape[1]
    if groups > 1 and q.device.type != "cpu":
        # elsewhere grouped heads would take SDPA's slow way
        k, v, groups = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), 1
    masked = windowed or (how.causal and keys != queries)
    mask = segments.mask(queries, keys, how) if masked else None
    causal = how.causal and not masked and queries > 1
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=how.scale, enable_gqa=groups > 1)


def attend_veiled(q: Tensor, k: Tensor, v: Tensor, segments: Segments, veil: Veil, out: Tensor, how: How) -> Tensor:
    """`out` [T, Hq, D] with the rows of the veiled sequences attended to again, from the tokens of theirs that may be seen."""
    queries, keys, values = (states[veil.rows].transpose(1, 2) for states in (q, k, v))
    length = veil.rows.shape[1]
    mask = segments.mask(length, length, how) & (torch.arange(length, device=q.device) < veil.seen[:, None])[:, None, None, :]
    groups = q.shape[1] // k.shape[1]
    if how.softcap is not None:
        attended = _softcapped(queries, keys, values, mask, how)
    else:
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=how.scale)
    return out.index_copy(0, veil.rows.flatten(), attended.transpose(1, 2).flatten(0, 1).to(out.dtype))


def _softcapped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, how: How) -> Tensor:
    """Attention with Gemma-2's tanh cap, which SDPA lacks."""
    cap = how.softcap or 1.0
    groups = q.shape[1] // k.shape[1]
    logits = q @ k.repeat_interleave(groups, 1).transpose(2, 3) * how.scale
    logits = torch.tanh(logits / cap) * cap
    weights = logits.masked_fill(~mask, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype)
    return weights @ v.repeat_interleave(groups, 1)


class Varlen(Protocol):
    """One varlen call: (q, k, v, q offsets, k offsets, longest q, longest k, how) to the output [T, H, D] and its log-sum-exp [T, H]."""

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, key_offsets: Tensor, longest: int, longest_key: int, how: How
    ) -> tuple[Tensor, Tensor]: ...


class VarlenKernel:
    """A FlashAttention varlen call: half precision on CUDA, heads of 8n up to 256.

    A shared prefix takes two calls, the sequences' own tokens and the prefix's, merged by their log-sum-exp; with a window it would
    take more, and is left to `EqualRuns`.
    """

    sorts = False

    def __init__(self, name: str, varlen: Varlen, *, softcap: bool = False, dtypes: tuple[torch.dtype, ...] = HALF) -> None:
        self.name = name
        self._varlen = varlen
        self._softcap = softcap
        self._dtypes = dtypes

    def serves(self, query: Tensor, segments: Segments, how: How) -> bool:
        """See `Kernel`."""
        head = query.shape[-1]
        fits = query.dtype in self._dtypes and head <= MAX_HEAD and head % 8 == 0
        return fits and (how.softcap is None or self._softcap) and (how.window is None or segments.shared is None)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: How) -> Tensor:
        """See `Kernel`."""
        # the kernels take any strides but the last one's
        q, k, v = (states if states.stride(-1) == 1 else states.contiguous() for states in (query, key, value))
        longest = segments.longest or segments.layout.longest
        out, lse = self._varlen(q, k, v, segments.offsets, segments.offsets, longest, longest, how)
        return out if segments.shared is None else self._with_prefix(q, k, v, out, lse, segments.shared, how)

    def _with_prefix(self, q: Tensor, k: Tensor, v: Tensor, own: Tensor, own_lse: Tensor, shared: SharedRows, how: How) -> Tensor:
        """`own` with the prefix's part added to the rows behind a prefix."""
        rows, prefix = shared.rows, shared.prefix_rows
        all_seen = How(causal=False, window=None, scale=how.scale, softcap=how.softcap)
        other, other_lse = self._varlen(
            q[rows], k[prefix], v[prefix], shared.offsets, shared.prefix_offsets, shared.longest, shared.longest_prefix, all_seen
        )
        weight = torch.sigmoid(other_lse - own_lse[rows]).unsqueeze(-1)
        mixed = torch.lerp(own[rows].float(), other.float(), weight)
        return own.index_copy(0, rows.long(), mixed.to(own.dtype))


def window_of(how: How) -> tuple[int, int]:
    """FlashAttention's (left, right) reach: -1 is unbounded, and a causal layer reaches 0 to the right."""
    reach = -1 if how.window is None else how.window - 1
    return reach, 0 if how.causal else reach


def torch_varlen(function: Callable[..., Any], aux: Any) -> Varlen:
    """`torch.nn.attention.varlen.varlen_attn` (torch >= 2.11) as `Varlen`; `aux` is its request for the log-sum-exp.

    Releases that lack `enable_gqa` get repeated key heads.
    """
    grouped = "enable_gqa" in inspect.signature(function).parameters

    def call(
        q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, key_offsets: Tensor, longest: int, longest_key: int, how: How
    ) -> tuple[Tensor, Tensor]:
        groups = q.shape[1] // k.shape[1]
        options: dict[str, Any] = {"enable_gqa": True} if grouped and groups > 1 else {}
        if groups > 1 and not grouped:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out, lse = function(
            q, k, v, offsets, key_offsets, longest, longest_key, return_aux=aux, scale=how.scale, window_size=window_of(how), **options
        )
        return out, _by_token(lse, q)

    return call


def flash_varlen(function: Callable[..., Any]) -> Varlen:
    """`flash_attn.flash_attn_varlen_func` (flash-attn 2) as `Varlen`."""

    def call(
        q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, key_offsets: Tensor, longest: int, longest_key: int, how: How
    ) -> tuple[Tensor, Tensor]:
        out, lse, _ = function(
            q, k, v, offsets, key_offsets, longest, longest_key,
            softmax_scale=how.scale, causal=how.causal, window_size=window_of(how), softcap=how.softcap or 0.0, return_attn_probs=True,
        )  # fmt: skip
        return out, _by_token(lse, q)

    return call


def _by_token(lse: Tensor, q: Tensor) -> Tensor:
    """Log-sum-exp as [T, H] float32; both kernels document or return it as [H, T]."""
    heads_first = lse.shape == (q.shape[1], q.shape[0])
    return lse.transpose(0, 1) if heads_first else lse

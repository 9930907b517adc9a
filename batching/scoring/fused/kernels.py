"""The passes between products as functions of tensors: `Triton` on CUDA, `Plain` in torch's own operations anywhere else.

An activation is a pair: rows in the body's number type, and for float8 the same rows as e4m3 with a scale for each row.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from batching.scoring.float8 import FLOAT8, LARGEST, quantise_rows
from batching.scoring.onednn.weights import EmbeddingWeights, Norm


@dataclass(frozen=True, slots=True)
class Rows:
    """`values` [T, H] in half precision; `quantised` e4m3 [T, H] with `scales` float32 [T, 1], where float8 is asked for.

    Rows that only a float8 product reads have no others: their `values` are `quantised`.
    """

    values: Tensor
    quantised: Tensor | None = None
    scales: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Spans:
    """Sequences of queries and of keys: offsets int32 [S + 1] on the device, and the most queries of one sequence on the host."""

    offsets: Tensor
    key_offsets: Tensor
    longest: int


class Passes(Protocol):
    """What happens between the products of a layer; `float8`: outputs carry e4m3 rows too."""

    float8: bool

    def embed(self, ids: Tensor, positions: Tensor, types: Tensor | None, tables: EmbeddingWeights) -> Rows:
        """The normed sum of three table rows for every token."""
        ...

    def add_norm(self, x: Tensor, residual: Tensor, norm: Norm) -> Rows:
        """LayerNorm of x + residual, [T, H]."""
        ...

    def gelu(self, x: Tensor) -> Rows:
        """Rows for a float8 product behind the tanh GELU."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, spans: Spans, scale: float, step: float | None = None) -> Rows:
        """Full attention inside sequences; q [Tq, heads, D], k and v [Tk, heads, D] of any row stride to [Tq, heads * D].

        `step`: rows for a float8 product, all of this scale.
        """
        ...


class Plain:
    """The same arithmetic in torch's own operations, step by step: what `Triton` is held against, and its stand-in on the CPU."""

    def __init__(self, *, float8: bool) -> None:
        self.float8 = float8

    def embed(self, ids: Tensor, positions: Tensor, types: Tensor | None, tables: EmbeddingWeights) -> Rows:
        """See `Passes`."""
        kinds = tables.types[torch.zeros_like(ids) if types is None else types]
        total = tables.words[ids].float() + tables.positions[positions].float() + kinds.float()
        return self._finish(_norm(total, tables.norm), tables.words.dtype)

    def add_norm(self, x: Tensor, residual: Tensor, norm: Norm) -> Rows:
        """See `Passes`."""
        return self._finish(_norm(x.float() + residual.float(), norm), x.dtype)

    def gelu(self, x: Tensor) -> Rows:
        """See `Passes`."""
        quantised, scales = quantise_rows(functional.gelu(x.float(), approximate="tanh"))
        return Rows(quantised, quantised, scales)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, spans: Spans, scale: float, step: float | None = None) -> Rows:
        """See `Passes`."""
        out = q.new_empty(len(q), q.shape[1] * q.shape[2])
        rows, keys = spans.offsets.tolist(), spans.key_offsets.tolist()
        for a, b, c, d in zip(rows, rows[1:], keys, keys[1:], strict=False):
            if b > a:
                asked, seen, mixed = (part.transpose(0, 1).unsqueeze(0) for part in (q[a:b], k[c:d], v[c:d]))
                found = functional.scaled_dot_product_attention(asked, seen, mixed, scale=scale)
                out[a:b] = found[0].transpose(0, 1).flatten(1)
        if step is None:
            return Rows(out)
        quantised = (out.float() / step).clamp(-LARGEST, LARGEST).to(FLOAT8)
        return Rows(quantised, quantised, _same(out, step))

    def _finish(self, y: Tensor, dtype: torch.dtype) -> Rows:
        return Rows(y.to(dtype), *quantise_rows(y)) if self.float8 else Rows(y.to(dtype))


def _norm(x: Tensor, norm: Norm) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], norm.weight.float(), norm.bias.float(), norm.epsilon)


class Triton:
    """The passes as Triton kernels."""

    def __init__(self, *, float8: bool) -> None:
        """Raises ImportError without Triton."""
        from batching.scoring.fused import triton_kernels

        self.float8 = float8
        self._kernels = triton_kernels

    def embed(self, ids: Tensor, positions: Tensor, types: Tensor | None, tables: EmbeddingWeights) -> Rows:
        """See `Passes`."""
        width = tables.words.shape[1]
        rows = self._rows(len(ids), width, tables.words)
        norm = tables.norm
        self._kernels.embed_rows[(len(ids),)](
            ids, positions, ids if types is None else types, tables.words, tables.positions, tables.types, norm.weight, norm.bias,
            *_outputs(rows), width, norm.epsilon, TYPED=types is not None, FLOAT8=self.float8, **_shape(width),
        )  # fmt: skip
        return rows

    def add_norm(self, x: Tensor, residual: Tensor, norm: Norm) -> Rows:
        """See `Passes`."""
        count, width = x.shape
        rows = self._rows(count, width, x)
        self._kernels.add_norm_rows[(count,)](
            x, residual, norm.weight, norm.bias, *_outputs(rows), width, norm.epsilon, FLOAT8=self.float8, **_shape(width)
        )
        return rows

    def gelu(self, x: Tensor) -> Rows:
        """See `Passes`."""
        quantised, scales = self.float8_rows(x, gelu=True)
        return Rows(quantised, quantised, scales)

    def float8_rows(self, x: Tensor, *, gelu: bool = False) -> tuple[Tensor, Tensor]:
        """`x` [T, K] as e4m3 with its scales, float32 [T, 1]."""
        count, width = x.shape
        quantised, scales = x.new_empty(count, width, dtype=FLOAT8), x.new_empty(count, 1, dtype=torch.float32)
        self._kernels.quantise_rows[(count,)](x, quantised, scales, width, GELU=gelu, **_shape(width))
        return quantised, scales

    def attend(self, q: Tensor, k: Tensor, v: Tensor, spans: Spans, scale: float, step: float | None = None) -> Rows:
        """See `Passes`."""
        _, heads, head = q.shape
        out = q.new_empty(len(q), heads * head, dtype=q.dtype if step is None else FLOAT8)
        sequences = len(spans.offsets) - 1
        usual = SHORT_TILES if len(k) < SHORT * sequences else TILES
        rows, keys, warps, stages = SINGLE_TILES if spans.longest <= SINGLE_TILES[0] else usual
        for first in range(0, sequences, MOST_SEQUENCES):
            some = slice(first, min(first + MOST_SEQUENCES, sequences) + 1)
            offsets, key_offsets = spans.offsets[some], spans.key_offsets[some]
            self._kernels.attend_blocks[(-(-spans.longest // rows), heads, len(offsets) - 1)](
                q, k, v, out, offsets, key_offsets, q.stride(0), k.stride(0), out.stride(0), scale * LOG2E,
                1.0 if step is None else 1.0 / step,
                SIZE=head, HEAD=max(16, _power(head)), ROWS=rows, KEYS=keys, num_warps=warps, num_stages=stages,
            )  # fmt: skip
        return Rows(out) if step is None else Rows(out, out, _same(q, step))

    def _rows(self, count: int, width: int, like: Tensor) -> Rows:
        values = like.new_empty(count, width)
        if not self.float8:
            return Rows(values)
        return Rows(values, like.new_empty(count, width, dtype=FLOAT8), like.new_empty(count, 1, dtype=torch.float32))


LOG2E = 1.4426950408889634
MOST_SEQUENCES = 65535
"""CUDA's limit for the last side of a grid."""
WARPS = 2
"""Of a program for one row; more only wait for each other."""
TILES, SHORT_TILES, SINGLE_TILES = (64, 64, 4, 3), (64, 32, 4, 3), (16, 64, 4, 2)
"""Queries and keys of one step of attention, warps of a program and stages of its pipeline: as a rule, for short sequences, for one query
each. The best of nine on an H200."""
SHORT = 256
"""Sequences of fewer tokens than this, on average, are short: the last block of keys is mostly empty."""


def row_quantiser(device: torch.device) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """`float8.quantise_rows` in one kernel where there is Triton."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return quantise_rows
    passes = Triton(float8=True)
    return lambda x: passes.float8_rows(x.contiguous())


def _same(like: Tensor, step: float) -> Tensor:
    """One scale for every row, float32 [T, 1]."""
    return torch.full((len(like), 1), step, device=like.device, dtype=torch.float32)


def _outputs(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """The three outputs of a row kernel; those that are not asked for are not touched."""
    return rows.values, rows.values if rows.quantised is None else rows.quantised, rows.values if rows.scales is None else rows.scales


def _shape(width: int) -> dict[str, int]:
    """How a row kernel is compiled for rows of `width`."""
    return {"WIDTH": _power(width), "num_warps": WARPS}


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()

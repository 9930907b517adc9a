"""Kernels in Triton: one pass over a row for what would be several, and attention inside packed sequences. Imported on CUDA only.

A program of the row kernels handles one row of at most `WIDTH` numbers, arithmetic in float32. Where an output for float8 is asked for, a
row is also written as e4m3 with its own scale (its largest magnitude over 448), so that the next product needs no pass of its own.
"""

# mypy: ignore-errors
# ruff: noqa: N803  (Triton's own way of writing: constants of the compilation in capitals)

from __future__ import annotations

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LARGEST: tl.constexpr = tl.constexpr(448.0)
TINY: tl.constexpr = tl.constexpr(1e-12)


@triton.jit
def _write_float8(y, quantised, scales, row, columns, width, inside):
    """One row as e4m3 and its scale."""
    scale = tl.maximum(tl.max(tl.abs(y)), TINY) / LARGEST
    tl.store(scales + row, scale)
    tl.store(quantised + row * width + columns, (y * (1.0 / scale)).to(tl.float8e4nv), inside)


@triton.jit
def _write_normed(x, weight, bias, out, quantised, scales, row, columns, width, epsilon, inside, FLOAT8: tl.constexpr):
    """LayerNorm of one row in float32, written as `out` has it and, for `FLOAT8`, as e4m3."""
    mean = tl.sum(x) / width
    apart = tl.where(inside, x - mean, 0.0)
    spread = tl.rsqrt(tl.sum(apart * apart) / width + epsilon)
    scaled = apart * spread * tl.load(weight + columns, inside, 0.0).to(tl.float32)
    y = scaled + tl.load(bias + columns, inside, 0.0).to(tl.float32)
    tl.store(out + row * width + columns, y.to(out.dtype.element_ty), inside)
    if FLOAT8:
        _write_float8(y, quantised, scales, row, columns, width, inside)


@triton.jit
def embed_rows(ids, positions, types, words, places, kinds, weight, bias, out, quantised, scales, width, epsilon,
               TYPED: tl.constexpr, FLOAT8: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """norm(words[id] + places[position] + kinds[type]); without `TYPED` every type is 0."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    inside = columns < width
    word, place = tl.load(ids + row).to(tl.int64), tl.load(positions + row).to(tl.int64)
    kind = tl.load(types + row).to(tl.int64) if TYPED else tl.zeros([], tl.int64)
    x = tl.load(words + word * width + columns, inside, 0.0).to(tl.float32)
    x += tl.load(places + place * width + columns, inside, 0.0).to(tl.float32)
    x += tl.load(kinds + kind * width + columns, inside, 0.0).to(tl.float32)
    _write_normed(x, weight, bias, out, quantised, scales, row, columns, width, epsilon, inside, FLOAT8)


@triton.jit
def add_norm_rows(x, residual, weight, bias, out, quantised, scales, width, epsilon, FLOAT8: tl.constexpr, WIDTH: tl.constexpr):
    """norm(x + residual)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    inside = columns < width
    total = tl.load(x + row * width + columns, inside, 0.0).to(tl.float32)
    total += tl.load(residual + row * width + columns, inside, 0.0).to(tl.float32)
    _write_normed(total, weight, bias, out, quantised, scales, row, columns, width, epsilon, inside, FLOAT8)


@triton.jit
def quantise_rows(x, quantised, scales, width, GELU: tl.constexpr, WIDTH: tl.constexpr):
    """Rows as e4m3, with `GELU` (tanh) behind that function, which is x * sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    inside = columns < width
    y = tl.load(x + row * width + columns, inside, 0.0).to(tl.float32)
    if GELU:
        u = 0.7978845608028654 * (y + 0.044715 * y * y * y)
        y = y / (1.0 + tl.exp2(-2.0 * LOG2E * u))
    _write_float8(y, quantised, scales, row, columns, width, inside)


@triton.jit
def attend_blocks(q, k, v, out, q_offsets, k_offsets, q_stride, k_stride, out_stride, scale, stretch,
                  SIZE: tl.constexpr, HEAD: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):  # fmt: skip
    """Full attention of one block of one sequence's queries to all of its keys, one head, by the online softmax.

    `q`, `k`, `v` point to [tokens, heads, SIZE] with rows `*_stride` apart, `HEAD` is SIZE or the next power of two; programs: (block,
    head, sequence). `scale` includes log2(e); the result is multiplied by `stretch`.
    """
    block, head, sequence = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first = tl.load(q_offsets + sequence).to(tl.int64)
    queries = (tl.load(q_offsets + sequence + 1) - first).to(tl.int32)
    if block * ROWS >= queries:
        return
    begin = tl.load(k_offsets + sequence).to(tl.int64)
    keys = (tl.load(k_offsets + sequence + 1) - begin).to(tl.int32)
    rows, dims, columns = block * ROWS + tl.arange(0, ROWS), tl.arange(0, HEAD), tl.arange(0, KEYS)
    real, there = dims < SIZE, rows < queries
    q_block = tl.load(q + (first + rows[:, None]) * q_stride + head * SIZE + dims[None, :], there[:, None] & real[None, :], 0.0)
    k_at = k + (begin + columns[None, :]) * k_stride + head * SIZE + dims[:, None]
    v_at = v + (begin + columns[:, None]) * k_stride + head * SIZE + dims[None, :]
    peak = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, HEAD], tl.float32)
    whole = keys // KEYS * KEYS
    for start in range(0, whole, KEYS):
        k_block = tl.load(k_at + start * k_stride) if SIZE == HEAD else tl.load(k_at + start * k_stride, real[:, None], 0.0)
        v_block = tl.load(v_at + start * k_stride) if SIZE == HEAD else tl.load(v_at + start * k_stride, real[None, :], 0.0)
        peak, total, mixed = _attend_step(tl.dot(q_block, k_block) * scale, v_block, peak, total, mixed)
    if whole < keys:
        left = columns < keys - whole
        k_block = tl.load(k_at + whole * k_stride, left[None, :] & real[:, None], 0.0)
        v_block = tl.load(v_at + whole * k_stride, left[:, None] & real[None, :], 0.0)
        logits = tl.where(left[None, :], tl.dot(q_block, k_block) * scale, float("-inf"))
        peak, total, mixed = _attend_step(logits, v_block, peak, total, mixed)
    result = (mixed * (stretch / total)[:, None]).to(out.dtype.element_ty)
    tl.store(out + (first + rows[:, None]) * out_stride + head * SIZE + dims[None, :], result, there[:, None] & real[None, :])


@triton.jit
def _attend_step(logits, v_block, peak, total, mixed):
    """One block of keys into the running peak, sum and mix of values."""
    higher = tl.maximum(peak, tl.max(logits, 1))
    weights, shrink = tl.exp2(logits - higher[:, None]), tl.exp2(peak - higher)
    total = total * shrink + tl.sum(weights, 1)
    mixed = tl.dot(weights.to(v_block.dtype), v_block, mixed * shrink[:, None])
    return higher, total, mixed

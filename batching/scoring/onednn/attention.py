"""Attention inside sequences that lie end to end: exact, without a mask, and without the pass that looks for each row's largest logit.

Softmax is exp2(logit) over its row's sum; the scale and log2(e) are folded into the query's weights. Without the largest logit taken off
first, a sum may overflow or vanish: `sound` says so, and `softmax_attention` does the layer again. torch's exp2 is three times as fast as
its exp in float32 on a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from batching.scoring.onednn.rows import Rows, round_up
from batching.scoring.onednn.scratch import Scratch

LOG2E = math.log2(math.e)
_SMALLEST = 2.0**-60
_LARGEST = 2.0**100
_BLOCK_STEP = 32
LARGEST_BLOCK = 1 << 22
"""Logits held at once; longer sequences go by blocks of queries, in steps of `_BLOCK_STEP`."""


@dataclass(frozen=True, slots=True)
class Heads:
    """`count` heads of `size`."""

    count: int
    size: int

    @property
    def width(self) -> int:
        """Hidden size."""
        return self.count * self.size

    @property
    def query_scale(self) -> float:
        """What the query's weights are multiplied by, so that exp2 of a logit is the softmax's numerator."""
        return LOG2E / math.sqrt(self.size)


def float32_attention(qkv: Tensor, rows: Rows, heads: Heads, out: Tensor, scratch: Scratch) -> Tensor:
    """Attend in float32, a sequence at a time, straight from `qkv` [R, 3H] to `out` [R, H]; returns all sums."""
    sums = scratch.take("sums", torch.float32, heads.count, rows.tokens)
    parts = qkv.view(-1, 3, heads.count, heads.size).permute(1, 2, 0, 3).unbind(0)
    target = out.view(-1, heads.count, heads.size).transpose(0, 1)
    for start, length in zip(rows.starts, rows.lengths, strict=True):
        stop = start + length
        query, key, value = (part[:, start:stop] for part in parts)
        key = key.transpose(1, 2)
        block = _block(heads.count * length, length)
        for begin in range(0, length, block):
            end = min(begin + block, length)
            weights = scratch.take("weights", torch.float32, heads.count, end - begin, length)
            torch.bmm(query[:, begin:end], key, out=weights).exp2_()
            total = sums[:, start + begin : start + end]
            torch.sum(weights, -1, out=total)
            result = scratch.take("result", torch.float32, heads.count, end - begin, heads.size)
            torch.bmm(weights, value, out=result)
            torch.div(result, total.unsqueeze(-1), out=target[:, start + begin : start + end])
    return sums


def bfloat16_attention(qkv: Tensor, rows: Rows, heads: Heads, out: Tensor, scratch: Scratch) -> Tensor:
    """Attend in bfloat16, a group of about equal lengths at a time, from `qkv` [R, 3H] to `out` [R, H]; returns all sums."""
    sums = scratch.take("sums", torch.bfloat16, heads.count * sum(len(group.starts) * group.length for group in rows.groups))
    done = 0
    source = qkv.view(-1, 3, heads.count, heads.size).permute(1, 2, 0, 3)
    target = out.view(-1, heads.count, heads.size).transpose(0, 1)
    for group in rows.groups:
        width, length = len(group.starts), group.length
        copies = scratch.take("copies", torch.bfloat16, 3, width * heads.count, length, heads.size)
        spread = copies.view(3, width, heads.count, length, heads.size)
        for place, start in enumerate(group.starts):
            there = min(length, rows.count - start)
            spread[:, place, :, :there].copy_(source[:, :, start : start + there])
            if there < length:
                spread[:, place, :, there:].zero_()
        query, key, value = copies.unbind(0)
        key = key.transpose(1, 2)
        block = round_up(_block(width * heads.count * length, length), _BLOCK_STEP)
        for begin in range(0, length, block):
            part = query if block >= length else query[:, begin : begin + block].contiguous()
            weights = scratch.take("weights", torch.bfloat16, width * heads.count, part.shape[1], length)
            torch.bmm(part, key, out=weights).exp2_()
            by_place = weights.view(width, heads.count, part.shape[1], length)
            for place, own in enumerate(group.lengths):
                if own < length:
                    by_place[place, :, :, own:].zero_()
            flat = sums[done : done + weights.shape[0] * weights.shape[1]].view(weights.shape[:2])
            done += flat.numel()
            total = torch.sum(weights, -1, out=flat).view(width, heads.count, -1, 1)
            result = torch.bmm(weights, value).view(width, heads.count, -1, heads.size)
            for place, (start, own) in enumerate(zip(group.starts, group.lengths, strict=True)):
                used = min(begin + part.shape[1], own) - begin
                if used > 0:
                    here = slice(start + begin, start + begin + used)
                    torch.div(result[place, :, :used], total[place, :, :used], out=target[:, here])
    return sums


def sound(sums: Tensor) -> bool:
    """If every row's sum is far from overflow and from vanishing; False for NaN."""
    smallest, largest = torch.aminmax(sums)
    return bool(smallest > _SMALLEST) and bool(largest < _LARGEST)


def softmax_attention(qkv: Tensor, rows: Rows, heads: Heads, out: Tensor) -> None:
    """Attend with an ordinary softmax in float32, from `qkv` [R, 3H] of any float type to `out` [R, H]."""
    parts = qkv.float().view(-1, 3, heads.count, heads.size).unbind(1)
    target = out.view(-1, heads.count, heads.size)
    for run in rows.runs:
        tokens = slice(run.start, run.start + run.count * run.length)
        query, key, value = (part[tokens].unflatten(0, (run.count, run.length)).transpose(1, 2) for part in parts)
        target[tokens].view(run.count, run.length, heads.count, heads.size).copy_(_flash(query, key, value).transpose(1, 2))


def read_attention(query: Tensor, x: Tensor, rows: Rows, out: Tensor) -> None:
    """Attend from `query` [S, N, H] over every sequence's rows of `x` [R, H], any float type, to `out` [S, N, H], softmax in float32."""
    queries, states = query.float().unsqueeze(1), x.float()
    for run in rows.runs:
        members = slice(run.first, run.first + run.count)
        seen = states[run.start : run.start + run.count * run.length].view(run.count, 1, run.length, -1)
        out[members] = _flash(queries[members], seen, seen).squeeze(1)


def _flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[N, heads, L, D] each; the query carries its scale and log2(e), which ln(2) takes back."""
    result: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, scale=math.log(2.0))[0]
    return result


def _block(per_query: int, queries: int) -> int:
    """Queries at once, when each has `per_query` logits: all, or as many as `LARGEST_BLOCK` logits are for."""
    if per_query * queries <= LARGEST_BLOCK:
        return queries
    return max(_BLOCK_STEP, LARGEST_BLOCK // per_query // _BLOCK_STEP * _BLOCK_STEP)

"""Attention from one row per sequence, over hidden states themselves: no row has its key or its value computed.

softmax(q (x K^T + k)^T) (x V^T + v) = softmax((q K) x^T) x V^T + v, as q k^T is the same for all rows of a sequence. With one query a
head, q K and what follows the weighted mean of `x` cost as much as one row's key and value (DeepSeek-V2, arXiv 2405.04434, section 2.1.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from batching.scoring.onednn import weights
from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.linear import stack
from batching.scoring.onednn.passes import Passes
from batching.scoring.onednn.rows import Rows
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.share import packed


class AbsorbedAttention:
    """What the rows in `rows.read` see; both moved products in float32, attention in `dtype`."""

    def __init__(self, own: weights.LayerWeights, heads: Heads, dtype: torch.dtype, passes: Passes) -> None:
        self._query = passes.linear(stack([own.query], [heads.query_scale]), dtype)
        self._key = packed(lambda: _by_head(own.key.weight, heads).clone())
        self._value = packed(lambda: _by_head(own.value.weight, heads).transpose(1, 2).contiguous())
        self._bias = own.value.bias.float()
        self._heads, self._passes = heads, passes
        self.nbytes = self._query.nbytes + self._key.nbytes + self._value.nbytes + self._bias.nbytes

    def __call__(self, read: Tensor, x: Tensor, rows: Rows, scratch: Scratch) -> Tensor:
        """`read` [>= S, H], one row per sequence of `x` [R, H], to [>= S, H] of its type, zero beyond the last sequence."""
        sequences, heads = len(rows.lengths), self._heads
        query = self._query(read)[:sequences].float().view(sequences, heads.count, heads.size).transpose(0, 1)
        over = torch.bmm(query, self._key).transpose(0, 1).to(x.dtype).contiguous()
        means = self._passes.read_attention(over, x, rows, scratch).float().transpose(0, 1)
        out = torch.zeros_like(read)
        out[:sequences] = torch.bmm(means, self._value).transpose(0, 1).reshape(sequences, heads.width) + self._bias
        return out


def _by_head(weight: Tensor, heads: Heads) -> Tensor:
    """`weight` [H, H] in float32 as [heads, size, H], contiguous."""
    return weight.float().reshape(heads.count, heads.size, -1).contiguous()

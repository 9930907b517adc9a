"""Keys and values never computed: attention from one row per sequence, against its definition in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from batching.scoring.onednn import available
from batching.scoring.onednn.absorbed import AbsorbedAttention
from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.fastest import Backend, made
from batching.scoring.onednn.rows import arrange
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.weights import EncoderWeights, LayerWeights, Linear, read_weights
from tests.models.onednn.models import BACKENDS, model_of

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
HEADS = [Heads(3, 16), Heads(2, 32), Heads(1, 48), Heads(12, 16)]
LENGTHS = np.array([200, 1, 5, 17, 64, 65, 17], dtype=np.int32)
BOUNDS = {torch.float32: 5e-6, torch.bfloat16: 0.03}
"""Of differences of values that spread by 1."""
POISON = 1e30


def drawn(heads: Heads, reach: float) -> EncoderWeights:
    """A body whose first layer has random projections, with logits that spread by `reach`."""
    torch.manual_seed(heads.width)
    own = read_weights(model_of("bert"))
    query, key, value = (Linear(torch.randn(heads.width, heads.width) / heads.width**0.5, torch.randn(heads.width)) for _ in range(3))
    layer = dataclasses.replace(own.layers[0], query=Linear(query.weight * reach, query.bias), key=key, value=value)
    return dataclasses.replace(own, layers=(layer,), heads=heads.count)


def defined(layer: LayerWeights, heads: Heads, row: Tensor, states: Tensor) -> Tensor:
    """What `row` [H] sees of `states` [L, H], in float64: with keys, with values and with all biases."""
    query, key, value = (
        (x.double() @ linear.weight.double().T + linear.bias.double()).view(-1, heads.count, heads.size).transpose(0, 1)
        for x, linear in ((row[None], layer.query), (states, layer.key), (states, layer.value))
    )
    return (torch.softmax(query @ key.transpose(1, 2) / heads.size**0.5, -1) @ value).reshape(heads.width)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@torch.inference_mode()
def test_it_is_attention(dtype: torch.dtype, heads: Heads, backend: Backend, last: bool, exact: bool) -> None:
    """From the first or the last row of sequences of many lengths; zeros beyond the last sequence; padding leaves no trace."""
    if available(dtype) is not None:
        pytest.skip(str(available(dtype)))
    own, rows = drawn(heads, 1.5), arrange(LENGTHS, last=last, exact=exact)
    x = torch.randn(rows.count, heads.width).to(dtype)
    x[rows.tokens :] = POISON
    read = x[torch.from_numpy(rows.read)]
    out = AbsorbedAttention(own.layers[0], heads, dtype, made(own, backend))(read, x, rows, Scratch())
    assert len(out) == len(read)
    assert not out[len(LENGTHS) :].any()
    for number, (start, length) in enumerate(zip(rows.starts, rows.lengths, strict=True)):
        want = defined(own.layers[0], heads, read[number], x[start : start + length])
        torch.testing.assert_close(out[number].double(), want, atol=BOUNDS[dtype], rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@torch.inference_mode()
def test_logits_in_the_thousands(backend: Backend) -> None:
    """The largest is taken off first, so nothing overflows or vanishes."""
    heads, rows = Heads(2, 32), arrange(LENGTHS)
    own, x = drawn(heads, 1000.0), torch.randn(rows.count, heads.width)
    read = x[torch.from_numpy(rows.read)]
    out = AbsorbedAttention(own.layers[0], heads, torch.float32, made(own, backend))(read, x, rows, Scratch())
    for number, (start, length) in enumerate(zip(rows.starts, rows.lengths, strict=True)):
        want = defined(own.layers[0], heads, read[number], x[start : start + length])
        torch.testing.assert_close(out[number].double(), want, atol=5e-3, rtol=0)

"""Attention without the largest logit taken off first is only kept where that is safe."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from batching.scoring.onednn import PackedEncoder, available
from batching.scoring.onednn.attention import Heads, bfloat16_attention, float32_attention, softmax_attention, sound
from batching.scoring.onednn.layers import WholeLayer
from batching.scoring.onednn.passes import TorchAttention
from batching.scoring.onednn.rows import arrange
from batching.scoring.onednn.scratch import Scratch
from tests.models.onednn.models import batch_of, model_of, padded, read

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
HEADS = Heads(4, 16)
LENGTHS = [5, 40, 41, 47, 100, 33, 40, 300]


def sharpened(factor: float, layer: int = 1) -> PreTrainedModel:
    """A model, one layer of which has logits `factor` times as large."""
    model = copy.deepcopy(model_of("bert"))
    with torch.no_grad():
        model.encoder.layer[layer].attention.self.query.weight.mul_(factor)
    return model


def plain_layers(encoder: PackedEncoder) -> list[bool]:
    """Which whole layers have given up the short way."""
    attentions = [layer.attention for layer in encoder._layers if isinstance(layer, WholeLayer)]
    return [attention.plain for attention in attentions if isinstance(attention, TorchAttention)]


@pytest.mark.parametrize("factor", [300.0, -300.0])
def test_a_layer_out_of_range_is_done_again_with_softmax(factor: float) -> None:
    """Logits beyond exp2's range give the softmax's result, in that layer only, and the layer remembers."""
    model, batch = sharpened(factor), batch_of(LENGTHS, types=2)
    encoder = PackedEncoder(model, backend="onednn")
    want = read(padded(model, *batch), "all")
    for _ in range(2):
        # logits in the hundreds magnify float32's own rounding
        torch.testing.assert_close(encoder(*batch), want, atol=1e-3, rtol=0)
        assert plain_layers(encoder) == [False, True, False]


def test_an_ordinary_model_never_needs_the_guard() -> None:
    """The short way is the one that the parity tests measure."""
    encoder = PackedEncoder(model_of("bert"), backend="onednn")
    encoder(*batch_of(LENGTHS))
    assert plain_layers(encoder) == [False, False, False]


@pytest.mark.skipif(available(torch.bfloat16) is not None, reason=str(available(torch.bfloat16)))
def test_bfloat16_is_guarded_too() -> None:
    """bfloat16 overflows where float32 does, and stays finite by the same guard."""
    encoder = PackedEncoder(sharpened(3000.0), torch.bfloat16, backend="onednn")
    assert bool(torch.isfinite(encoder(*batch_of(LENGTHS))).all())
    assert plain_layers(encoder) == [False, True, False]


def dense(qkv: Tensor, lengths: list[int], shift: float = 0.0) -> Tensor:
    """Attention by definition, in float64; every key is as much nearer to every query as `shift` makes it."""
    out, begin = [], 0
    for length in sorted(lengths):
        query, key, value = qkv[begin : begin + length].double().view(length, 3, HEADS.count, HEADS.size).permute(1, 2, 0, 3)
        weights = torch.softmax((query @ key.transpose(1, 2) + shift) * torch.log(torch.tensor(2.0)), -1)
        out.append((weights @ value).transpose(0, 1).reshape(length, HEADS.width))
        begin += length
    return torch.cat(out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_short_way_is_attention(dtype: torch.dtype) -> None:
    """Both kernels are dense attention over each sequence, and rows beyond a sequence leave no trace in it, whatever they hold."""
    rows = arrange(batch_of(LENGTHS)[1])
    torch.manual_seed(3)
    qkv = torch.randn(rows.count, 3 * HEADS.width).to(dtype)
    want = dense(qkv[: rows.tokens], LENGTHS)
    attend = bfloat16_attention if dtype == torch.bfloat16 else float32_attention
    for padding in (0.0, 50.0):
        qkv[rows.tokens :] = padding
        out = torch.zeros(rows.count, HEADS.width, dtype=dtype)
        attend(qkv, rows, HEADS, out, Scratch())
        torch.testing.assert_close(out[: rows.tokens].double(), want, atol=1e-5 if dtype == torch.float32 else 0.04, rtol=0)
        assert not out[rows.tokens :].any()


def test_softmax_is_attention() -> None:
    """The way round the guard is dense attention too, also with logits in the thousands."""
    rows = arrange(batch_of(LENGTHS)[1])
    torch.manual_seed(3)
    qkv = torch.randn(rows.count, 3 * HEADS.width)
    qkv[:, : HEADS.width] *= 100
    want = dense(qkv[: rows.tokens], LENGTHS).float()
    out = torch.zeros(rows.count, HEADS.width)
    softmax_attention(qkv, rows, HEADS, out)
    torch.testing.assert_close(out[: rows.tokens], want, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("value", "good"), [(1.0, True), (0.0, False), (float("inf"), False), (float("nan"), False), (1e-30, False)])
def test_one_bad_sum_is_enough(value: float, good: bool) -> None:
    """Vanished, overflown and undefined sums are all seen, in either type."""
    for dtype in (torch.float32, torch.bfloat16):
        sums = torch.ones(3, 5, dtype=dtype)
        sums[1, 2] = value
        assert sound(sums) is good

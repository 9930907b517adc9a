"""The packed forward gives what Hugging Face's padded forward gives, in any order, at any length, alone or in company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from batching.scoring.onednn import PackedEncoder, Read, available
from batching.scoring.onednn.attention import LARGEST_BLOCK
from batching.scoring.onednn.fastest import Backend
from tests.models.onednn.models import BACKENDS, KINDS, batch_of, model_of, padded, read, types_of

FLOAT32 = 1e-5
BFLOAT16 = 0.12
"""Bound on |bfloat16 - float32| of hidden states, which spread by about 1."""
READS: tuple[Read, ...] = ("first", "last", "mean", "all")
MIXED = [17, 3, 64, 17, 1, 130, 8, 64, 65, 200, 17, 2, 9, 300]

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
needs_bfloat16 = pytest.mark.skipif(available(torch.bfloat16) is not None, reason=str(available(torch.bfloat16)))


def difference(kind: str, lengths: list[int], how: Read, dtype: torch.dtype, *, backend: Backend = "auto", **changes: Any) -> float:
    """Largest |packed - padded| of what is read."""
    model = model_of(kind, **changes)
    batch = batch_of(lengths, types=types_of(kind))
    got = PackedEncoder(model, dtype, read=how, backend=backend)(*batch)
    want = read(padded(model, *batch), how)
    assert got.shape == want.shape
    assert got.dtype == torch.float32
    return float((got - want).abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_equals_hugging_face(kind: str, how: Read, backend: Backend) -> None:
    """Every kind of body and every reading are within 1e-5, whatever the order of the lengths."""
    assert difference(kind, MIXED, how, torch.float32, backend=backend) <= FLOAT32


@needs_bfloat16
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_stays_near(kind: str, how: Read, backend: Backend) -> None:
    """bfloat16 stays within its bound, so nothing is mixed up between rows or heads."""
    assert difference(kind, MIXED, how, torch.bfloat16, backend=backend) <= BFLOAT16


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_length_from_1_to_600(dtype: torch.dtype, backend: Backend) -> None:
    """No length is special: each one in a batch of its neighbours, four to a batch."""
    model = model_of("bert", num_hidden_layers=1)
    encoder = PackedEncoder(model, dtype, read="first", backend=backend)
    for shortest in range(1, 601, 4):
        batch = batch_of(list(range(shortest, shortest + 4)), types=2, seed=shortest)
        want = read(padded(model, *batch), "first")
        assert float((encoder(*batch) - want).abs().max()) <= (FLOAT32 if dtype == torch.float32 else BFLOAT16), shortest


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 63, 64, 65, 255, 256, 257, 640])
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_sequence_alone(length: int, backend: Backend) -> None:
    """A batch of one sequence is as right as any."""
    for how in READS:
        assert difference("xlm-roberta", [length], how, torch.float32, backend=backend) <= FLOAT32


def test_long_sequences_go_by_blocks_of_queries() -> None:
    """Blocks of queries change nothing: the same model with many heads, whose logits exceed one block."""
    assert difference("bert", [640, 633, 640], "all", torch.float32, backend="onednn", num_attention_heads=16, hidden_size=128) <= FLOAT32


@needs_bfloat16
def test_long_sequences_go_by_blocks_of_queries_in_bfloat16() -> None:
    """As above where the blocks hold more."""
    assert difference("bert", [640, 633, 640], "all", torch.bfloat16, backend="onednn", num_attention_heads=16, hidden_size=128) <= BFLOAT16


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
def test_long_sequences_take_no_more_memory_for_their_logits(dtype: torch.dtype) -> None:
    """A block's, however long the sequence: all logits of one would be 1.6 GB for 8,192 tokens and 12 heads in bfloat16."""
    encoder = PackedEncoder(model_of("bert", num_attention_heads=16, hidden_size=128), dtype, backend="onednn")
    encoder(*batch_of([640, 640, 639], types=2))
    held = {name: buffer.numel() for (name, _), buffer in encoder._scratch._buffers.items()}
    assert held["weights"] <= LARGEST_BLOCK < 16 * 640 * 640


def test_without_types_is_all_zeros() -> None:
    """No token types means type 0 everywhere."""
    encoder = PackedEncoder(model_of("bert"))
    ids, lengths, types = batch_of(MIXED, types=2)
    assert torch.equal(encoder(ids, lengths, None), encoder(ids, lengths, np.zeros_like(types)))
    assert not torch.equal(encoder(ids, lengths, None), encoder(ids, lengths, types))


@pytest.mark.parametrize("backend", BACKENDS)
def test_company_does_not_matter(backend: Backend) -> None:
    """A sequence scores alike alone, among others, and wherever it stands."""
    encoder = PackedEncoder(model_of("bert"), read="first", backend=backend)
    ids, lengths, _ = batch_of(MIXED)
    whole = encoder(ids, lengths)
    begins = np.cumsum(lengths) - lengths
    for place, (begin, length) in enumerate(zip(begins.tolist(), lengths.tolist(), strict=True)):
        alone = encoder(ids[begin : begin + length], lengths[place : place + 1])
        torch.testing.assert_close(alone[0], whole[place], atol=FLOAT32, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeats_exactly(backend: Backend) -> None:
    """The same batch gives the same bits, also after other shapes have used the scratch memory."""
    encoder = PackedEncoder(model_of("bert"), read="first", backend=backend)
    batch = batch_of(MIXED)
    before = encoder(*batch)
    encoder(*batch_of([500, 600, 3]))
    encoder(*batch_of([1]))
    assert torch.equal(encoder(*batch), before)


def test_refuses_what_does_not_add_up() -> None:
    """Wrong lengths and ids raise and score nothing."""
    encoder = PackedEncoder(model_of("bert"))
    ids, lengths, _ = batch_of([3, 4])
    with pytest.raises(ValueError, match="add up to 7"):
        encoder(ids[:-1], lengths)
    with pytest.raises(ValueError, match="a token"):
        encoder(ids, np.array([7, 0], dtype=np.int32))
    with pytest.raises(ValueError, match="needs sequences"):
        encoder(ids[:0], lengths[:0])
    with pytest.raises(IndexError):
        encoder(ids + 10_000, lengths)
    with pytest.raises(IndexError):
        encoder(*batch_of([700]))

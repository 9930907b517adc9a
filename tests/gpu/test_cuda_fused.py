"""The Triton kernels give what torch's own operations give, and a fused encoder scores as the model's own modules in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from batching.scoring.float8 import quantise_rows
from batching.scoring.fused.kernels import Plain, Rows, Spans, Triton
from batching.scoring.onednn.weights import EmbeddingWeights, Norm
from batching.scoring.options import DTypeChoice
from tests.checkpoints import QUERY
from tests.models.cases import CASES, PAIRS, encoded, scorer_of
from tests.models.packs import scores

pytestmark = pytest.mark.gpu

HALF = {torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Half a step of the number type at 1, doubled for what is added up in another order."""


def near(got: Rows, want: Rows, bound: float) -> None:
    """Values within `bound` of their size; float8 rows within one step of theirs."""
    size = float(want.values.float().abs().max())
    assert float((got.values.float() - want.values.float()).abs().max()) <= bound * size
    if want.quantised is not None:
        near8(got, want)


def near8(got: Rows, want: Rows) -> None:
    """float8 rows within one step of each other, and nearly all the same."""
    assert want.quantised is not None and want.scales is not None and got.quantised is not None and got.scales is not None
    ours, theirs = got.quantised.float() * got.scales, want.quantised.float() * want.scales
    assert bool(((ours - theirs).abs() <= theirs.abs() / 8 + want.scales * 2**-8).all())
    assert float((ours - theirs).norm() / theirs.norm()) < 0.01


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("float8", [False, True])
@pytest.mark.parametrize("width", [48, 384, 768, 1024, 4096])
def test_row_kernels(dtype: torch.dtype, float8: bool, width: int, cuda: torch.device) -> None:
    """Embeddings, residual and norm, GELU and quantised rows; widths that are no power of two among them."""
    torch.manual_seed(width)
    plain, triton = Plain(float8=float8), Triton(float8=float8)

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=cuda, dtype=dtype)

    norm = Norm(made(width), made(width), 1e-5)
    tables = EmbeddingWeights(made(90, width), made(40, width), made(2, width), norm, None)
    ids, positions, types = (torch.randint(0, size, (77,), device=cuda, dtype=torch.int32) for size in (90, 40, 2))
    for kinds in (types, None):
        near(triton.embed(ids, positions, kinds, tables), plain.embed(ids, positions, kinds, tables), HALF[dtype])
    x, residual = made(77, width), made(77, width)
    near(triton.add_norm(x, residual, norm), plain.add_norm(x, residual, norm), HALF[dtype])
    if float8:
        near8(triton.gelu(x * 3), plain.gelu(x * 3))
        near8(Rows(x, *triton.float8_rows(x)), Rows(x, *quantise_rows(x)))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("head", [8, 24, 32, 64, 128])
def test_attention(dtype: torch.dtype, head: int, cuda: torch.device) -> None:
    """Within sequences of any length, an empty one among them; one query for each sequence too."""
    torch.manual_seed(head)
    plain, triton = Plain(float8=False), Triton(float8=False)
    lengths = [5, 1, 200, 64, 0, 128, 513, 65]
    offsets = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), device=cuda, dtype=torch.int32)
    mix = torch.randn(sum(lengths), 3, 3, head, device=cuda, dtype=dtype)
    few = torch.arange(len(lengths), device=cuda, dtype=torch.int32)
    real = torch.cat([offsets[:4], offsets[5:]])  # a sequence that is read has tokens
    for q, spans in (
        (mix[:, 0], Spans(offsets, offsets, max(lengths))),
        (mix[: len(few) - 1, 0], Spans(few, real, 1)),
    ):
        got, want = (one.attend(q, mix[:, 1], mix[:, 2], spans, head**-0.5).values for one in (triton, plain))
        assert float((got.float() - want.float()).abs().max()) <= 2 * HALF[dtype]
        near8(*(one.attend(q, mix[:, 1], mix[:, 2], spans, head**-0.5, 0.2) for one in (triton, plain)))


def test_attention_over_more_sequences_than_a_grid_has_room_for(cuda: torch.device) -> None:
    """70,000 sequences of one token: each attends to itself alone."""
    count = 70_000
    offsets = torch.arange(count + 1, device=cuda, dtype=torch.int32)
    mix = torch.randn(count, 3, 1, 16, device=cuda, dtype=torch.bfloat16)
    got = Triton(float8=False).attend(mix[:, 0], mix[:, 1], mix[:, 2], Spans(offsets, offsets, 1), 0.25).values
    assert torch.equal(got, mix[:, 2, 0])


@pytest.mark.parametrize("name", ["xlm-roberta", "bert", "bi-encoder mean"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_encoder_is_fused_and_scores_the_same(name: str, dtype: DTypeChoice) -> None:
    """The machine's choice for an encoder is the fused forward; graphs of it are captured and change nothing."""
    request = encoded(name, QUERY, PAIRS)
    want = scores(scorer_of(name), request)
    scorer = scorer_of(name, device="cuda:0", dtype=dtype, forward="auto")
    assert scorer.backend == "fused+graphs"
    for _ in range(4):
        assert np.abs(scores(scorer, request) - want).max() <= CASES[name].bfloat16 * float(np.ptp(want))
    assert scorer._forward.trouble == ""

"""The fused forward's arithmetic, on the stand-ins for its kernels, scores as the model's own modules do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from batching.errors import SettingError
from batching.scoring.batch import read_rows
from batching.scoring.bodies import read_positions
from batching.scoring.float8 import emulated
from batching.scoring.fused import FusedForward, available, unsupported
from batching.scoring.fused.kernels import Plain
from batching.scoring.graphs import GraphedForward
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from ops.bench.parity import FAR, order_agreement
from tests.checkpoints import QUERY
from tests.models.cases import PAIRS, encoded, encoder_of, scale, scorer_of
from tests.models.packs import scores
from tests.models.varlen import FakeGraph, varlen_kernel, varlen_scorer

FUSED = ("xlm-roberta", "bert", "bi-encoder mean", "bi-encoder last")
GELU = 3e-3
"""How far the tanh GELU moves a score of these small models, in units of their size."""


def fused_scorer(name: str, *, float8: bool = False) -> PackedScorer:
    scorer = varlen_scorer(name)
    scorer._forward = FusedForward(scorer._forward._base, float8=float8, passes=Plain(float8=float8), product=emulated)
    return scorer


@pytest.mark.parametrize("name", FUSED)
def test_scores_are_the_modules_own(name: str) -> None:
    """One row per sequence from a last layer that is only computed where it is read; the rest differs by GELU's approximation alone."""
    request = encoded(name, QUERY, PAIRS)
    want = scores(scorer_of(name), request)
    assert np.abs(scores(fused_scorer(name), request) - want).max() <= GELU * scale(want)


@pytest.mark.parametrize("name", FUSED)
def test_a_last_layer_read_by_the_row_is_the_whole_one(name: str) -> None:
    """What `rows` leaves out is what nobody reads."""
    scorer, request = fused_scorer(name), encoded(name, QUERY, PAIRS)
    short = scores(scorer, request)
    forward = scorer._forward
    forward.rows = lambda batch, read: read_rows(forward.hidden(batch), batch, read)
    np.testing.assert_allclose(short, scores(scorer, request), atol=1e-5 * scale(short), rtol=0)


@pytest.mark.parametrize("name", FUSED)
def test_float8_keeps_the_order(name: str) -> None:
    """With e4m3 products nearly all well-separated pairs keep their order, and weights take less memory."""
    request = encoded(name, QUERY, PAIRS)
    want = scores(scorer_of(name), request)
    scorer, half = fused_scorer(name, float8=True), fused_scorer(name)
    assert scorer._forward.weights_bytes() < half._forward.weights_bytes()
    kept, pairs = order_agreement(scores(scorer, request), want, FAR * float(np.ptp(want)))
    assert kept >= 0.95 * pairs > 0


def test_it_can_be_captured() -> None:
    """Its work is of fixed shapes and reads nothing but the batch's tensors."""
    plain, request = varlen_scorer("xlm-roberta"), encoded("xlm-roberta", QUERY, PAIRS[:5])
    offset = read_positions(plain._forward._base).offset
    scorer = fused_scorer("xlm-roberta")
    want = scores(scorer, request)
    made: list[FakeGraph] = []
    scorer._forward = GraphedForward(scorer._forward, varlen_kernel(), offset, lambda: FakeGraph(made))
    for _ in range(4):
        np.testing.assert_allclose(scores(scorer, request), want, atol=1e-5 * scale(want), rtol=0)
    assert scorer._forward.trouble == ""
    assert made[0].replays


def test_what_it_does_not_know_is_named() -> None:
    """A decoder's body, another activation; and where there is no CUDA device, asking for it by name is refused."""
    assert "qwen3" in str(unsupported(varlen_scorer("qwen3")._forward._base))
    base = varlen_scorer("bert")._forward._base
    assert unsupported(base) is None
    base.config.hidden_act = "relu"
    assert "relu" in str(unsupported(base))
    base.config.hidden_act, base.config.intermediate_size = "gelu", 40
    assert unsupported(base) is None
    assert "40 is no multiple of 16" in str(unsupported(base, float8=True))
    assert "CUDA" in str(available(torch.device("cpu"), torch.bfloat16))
    with pytest.raises(SettingError, match="'fused' is not possible: it needs a CUDA device"):
        load_scorer(encoder_of("bert").card, ScoringOptions(forward="fused"))

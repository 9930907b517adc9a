"""float8 products: scales that lose little, order kept through whole models, NaN kept apart, a clear refusal elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import SettingError
from batching.scoring.float8 import LARGEST, Float8Linear, check_float8, emulated, quantise_rows, to_float8
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from ops.bench.parity import FAR, order_agreement
from tests.checkpoints import QUERY
from tests.models.cases import PAIRS, encoded, encoder_of, reference_of
from tests.models.packs import scores


@given(st.integers(0, 1000), st.floats(-30, 30))
def test_rows_come_back_within_the_numbers_precision(seed: int, power: float) -> None:
    """Three bits behind the point: every number is within a sixteenth, or the row's smallest step, whatever the row's size."""
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(seed)) * 2.0**power
    rows, scale = quantise_rows(x)
    assert rows.dtype is torch.float8_e4m3fn
    assert bool((rows.float().abs() <= LARGEST).all())
    assert bool(((rows.float() * scale - x).abs() <= x.abs() / 16 + scale * 2.0**-9).all())


def test_zeros_and_nan_keep_to_their_rows() -> None:
    """A row of zeros stays zero, a NaN makes its own row NaN and no other."""
    x = torch.randn(3, 16)
    x[0], x[1, 4] = 0, float("nan")
    out = Float8Linear(torch.nn.Linear(16, 32, bias=False), emulated)(x)
    assert bool((out[0] == 0).all())
    assert bool(out[1].isnan().all())
    assert bool(out[2].isfinite().all())


def test_a_linear_is_near_its_own() -> None:
    """Product, bias, leading dimensions and number type are the linear's."""
    linear = torch.nn.Linear(64, 48).requires_grad_(False)
    x = torch.randn(2, 5, 64)
    got, want = Float8Linear(linear, emulated)(x), linear(x)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert float((got - want).norm() / want.norm()) < 0.05


BOUNDS = {"xlm-roberta": 0.25, "bert": 0.25, "modernbert mean": 0.25, "qwen3": 0.25, "nemotron": 0.25, "bi-encoder mean": 0.25}


@pytest.mark.parametrize("name", BOUNDS)
def test_whole_models_keep_the_order(name: str) -> None:
    """On the emulated product, scores drift less than the bound of their spread, and nearly all well-separated pairs keep their order."""
    scorer = load_scorer(encoder_of(name).card, ScoringOptions(forward="transformers", dtype="bfloat16"))
    before = scorer.memory_bytes()
    assert to_float8(scorer._forward._base, emulated) > 0
    assert scorer.memory_bytes() < before
    want = reference_of(name, QUERY, PAIRS)
    got = scores(scorer, encoded(name, QUERY, PAIRS))
    spread = float(np.ptp(want))
    assert 0 < np.abs(got - want).max() <= BOUNDS[name] * spread
    agree, separated = order_agreement(got, want, FAR * spread)
    assert agree >= 0.95 * separated


def test_a_device_without_it_is_refused() -> None:
    """The setting names what it needs, before anything is loaded."""
    with pytest.raises(SettingError, match=r"float8.*8\.9.*cpu.*auto"):
        check_float8(torch.device("cpu"))
    with pytest.raises(SettingError, match="float8"):
        load_scorer(encoder_of("bert").card, ScoringOptions(dtype="float8"))

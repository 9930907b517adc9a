"""Whichever forward runs the body on the CPU, the scores are the reference's."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from batching.errors import SettingError
from batching.families.detect import detect
from batching.scoring.linears import is_faster, prepack, round_rows
from batching.scoring.load import choose_dtype, load_scorer
from batching.scoring.onednn import available, library
from batching.scoring.onednn.support import has_vnni
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import QUERY
from tests.models.cases import CASES, DRIFT, FLOAT32, FULL, PAIRS, case_of, encoded, encoder_of, reference_of, scale, scorer_of
from tests.models.packs import scores

PREPACKED = ("xlm-roberta", "bert", "electra", "jina-v2", "bi-encoder mean", "bi-encoder cls", "bi-encoder last", "colbert attended", *FULL)


def kernels_of(name: str) -> tuple[str, ...]:
    """What the packed forward may be called there: with our own C where that is installed and serves."""
    return ("onednn+simd", "simd") if name in FULL and library.missing() is None else ("onednn",)


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize("name", PREPACKED)
def test_the_packed_cpu_forward_equals_the_reference(name: str) -> None:
    """Readings of one row, of the mean and of every token come out of the prepacked forward as out of the model's own modules."""
    request, want = encoded(name, QUERY, PAIRS), reference_of(name, QUERY, PAIRS)
    scorer = scorer_of(name, forward="onednn")
    got = scores(scorer, request)
    assert scorer.backend in kernels_of(name)
    np.testing.assert_allclose(got, want, atol=FLOAT32 * scale(want), rtol=0)
    np.testing.assert_allclose(scores(scorer, request, request), np.concatenate([got, got]), atol=DRIFT * scale(want), rtol=0)
    assert scorer.memory_bytes() > 10_000


@pytest.mark.skipif(available(torch.bfloat16) is not None, reason=str(available(torch.bfloat16)))
@pytest.mark.parametrize("name", PREPACKED)
def test_the_packed_cpu_forward_in_bfloat16(name: str) -> None:
    """bfloat16 stays within the family's bound."""
    want = reference_of(name, QUERY, PAIRS)
    got = scores(scorer_of(name, forward="onednn", dtype="bfloat16"), encoded(name, QUERY, PAIRS))
    assert np.abs(got - want).max() <= case_of(name).bfloat16 * float(np.ptp(want))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_auto_chooses_one_that_is_right(dtype: str) -> None:
    """ "auto" measures; whatever wins, the scores hold."""
    want = reference_of("bert", QUERY, PAIRS)
    scorer = load_scorer(encoder_of("bert").card, ScoringOptions(dtype=dtype))
    bound = FLOAT32 * scale(want) if dtype == "float32" else CASES["bert"].bfloat16 * float(np.ptp(want))
    assert np.abs(scores(scorer, encoded("bert", QUERY, PAIRS)) - want).max() <= bound
    assert scorer.backend in ("onednn", "onednn+simd", "simd", "sdpa-runs")
    assert scorer.dtype == dtype


@pytest.mark.parametrize("name", ["modernbert mean", "qwen3", "deberta-v2"])
def test_a_model_without_packed_forward_says_so(name: str) -> None:
    """Asking for oneDNN where there is none is a setting's error, not a slow or wrong start."""
    with pytest.raises(SettingError, match="onednn"):
        load_scorer(encoder_of(name).card, ScoringOptions(forward="onednn"))


@pytest.mark.skipif(available() is not None, reason=str(available()))
@pytest.mark.parametrize("name", ["modernbert mean", "ettin", "deberta-v2", "qwen3", "bge_gemma", "nemotron", "colbert attended"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_prepacked_linears_equal_the_reference(name: str, dtype: str) -> None:
    """A body whose linears were laid out anew for oneDNN scores as before, and counts its weights."""
    if reason := available(getattr(torch, dtype)):
        pytest.skip(reason)
    request, want = encoded(name, QUERY, PAIRS), reference_of(name, QUERY, PAIRS)
    scorer = load_scorer(encoder_of(name).card, ScoringOptions(dtype=dtype, forward="transformers"))
    before = scorer.memory_bytes()
    moved = prepack(scorer._forward._base)
    bound = FLOAT32 * scale(want) if dtype == "float32" else CASES[name].bfloat16 * float(np.ptp(want))
    assert np.abs(scores(scorer, request) - want).max() <= bound
    assert moved > 0
    assert scorer.memory_bytes() == before


def test_the_race_has_a_verdict() -> None:
    """A body is prepacked only when a product of its own ran faster so; one without linears never is."""
    assert is_faster(torch.nn.Linear(512, 512)) in (True, False)
    assert not is_faster(torch.nn.LayerNorm(4))


@given(st.integers(1, 20_000))
def test_row_counts_are_few_and_near(tokens: int) -> None:
    """Rounded row counts are at least what is asked for, at most a sixteenth and a step more, and their own rounding."""
    rounded = round_rows(tokens)
    assert tokens <= rounded <= max(tokens + 8, tokens * 17 // 16 + 1)
    assert round_rows(rounded) == rounded


INT8 = available(int8=True)


@pytest.mark.skipif(INT8 is not None, reason=str(INT8))
@pytest.mark.parametrize("name", PREPACKED)
def test_int8_by_the_setting(name: str) -> None:
    """DTYPE=int8 reaches the int8 products of every encoder that has them; scores stay near, and well separated documents in order."""
    if not has_vnni() and name not in FULL:
        with pytest.raises(SettingError, match=r"without AVX-512 VNNI .* multiple of 16; use 'auto'"):
            load_scorer(encoder_of(name).card, ScoringOptions(dtype="int8"))
        return
    want = reference_of(name, QUERY, PAIRS)
    scorer = load_scorer(encoder_of(name).card, ScoringOptions(dtype="int8"))
    got = scores(scorer, encoded(name, QUERY, PAIRS))
    bound = 0.15 * float(np.ptp(want))
    assert scorer.dtype == "int8"
    assert scorer.backend == (kernels_of(name)[0] if has_vnni() else "simd")
    assert 0 < np.abs(got - want).max() <= bound
    for one, other in itertools.combinations(range(len(PAIRS)), 2):
        if abs(want[one] - want[other]) > 2 * bound:
            assert (got[one] > got[other]) == (want[one] > want[other])


@pytest.mark.parametrize("name", ["modernbert mean", "qwen3", "deberta-v2"])
def test_int8_is_refused_where_there_is_none(name: str) -> None:
    """A family without int8 products says so, and what to set instead."""
    with pytest.raises(SettingError, match=r"int8.*use 'auto'"):
        load_scorer(encoder_of(name).card, ScoringOptions(dtype="int8"))


def test_int8_is_for_the_cpu() -> None:
    """Other devices refuse it by its name."""
    with pytest.raises(SettingError, match=r"int8.*CPU, not mps"):
        choose_dtype(torch.device("mps"), "int8", "bert")


@pytest.mark.skipif(INT8 is not None, reason=str(INT8))
def test_int8_that_would_spoil_a_model_is_refused(tmp_path: Path) -> None:
    """A body that 255 levels don't hold, here by one channel of its norms far beyond the others, is refused with the figure."""
    directory = checkpoints.bert(tmp_path / "spoilt", heads=2)
    tensors = load_file(directory / "model.safetensors")
    torch.manual_seed(2)  # one draw in five spoils nothing
    for name in tensors:
        if name.endswith("LayerNorm.weight"):
            tensors[name][::2] *= 3e4
        if name.endswith(("query.weight", "key.weight", "value.weight", "dense.weight")) and "layer" in name:
            tensors[name] = torch.randn_like(tensors[name]).sign() * torch.rand_like(tensors[name]) ** 8
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SettingError, match=r"int8 moves .* of their spread"):
        load_scorer(detect(directory, "spoilt"), ScoringOptions(dtype="int8"))

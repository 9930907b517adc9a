"""From raw scores to scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from batching.families.activate import activate
from tests.unit.families.conftest import Shelf

KINDS = ("sigmoid", "identity", "cosine", "softmax")
raws = st.lists(st.floats(min_value=-1e4, max_value=1e4, width=32), min_size=1, max_size=20)


@given(raws, st.sampled_from(KINDS), st.sampled_from([(1.0, 0.0), (5.0, 0.0), (1.0, 2.65)]))
def test_order_is_kept(shelf: Shelf, values: list[float], kind: str, line: tuple[float, float]) -> None:
    """A larger raw score never gets a smaller score, and every score is finite and in its range."""
    raw = np.array(sorted(values), np.float32)
    scores = activate(raw, replace(shelf.card("bert"), activation=kind, scale=line[0], shift=line[1]))
    assert (np.diff(scores) >= 0).all()
    assert np.isfinite(scores).all()
    if kind in ("sigmoid", "softmax"):
        assert ((scores >= 0) & (scores <= 1)).all()
    if kind == "softmax":
        assert scores.sum() == pytest.approx(1)


def test_known_values(shelf: Shelf) -> None:
    """Published figures: bge-reranker-v2-m3's sigmoid, zerank's scale, jina-m0's shift."""
    card = shelf.card("xlm_roberta")
    raw = np.array([-8.1838, 5.2650], np.float32)
    assert activate(raw, card) == pytest.approx([0.00028, 0.9948], abs=1e-4)
    assert activate(raw, replace(card, scale=5.0))[1] == pytest.approx(1 / (1 + np.exp(-5.2650 / 5)))
    assert activate(raw, replace(card, shift=2.65))[1] == pytest.approx(1 / (1 + np.exp(2.65 - 5.2650)))
    assert activate(raw, replace(card, activation="identity")).tolist() == raw.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_with_its_document(shelf: Shelf, kind: str) -> None:
    """A raw score that is no number gives none, and spoils no other."""
    scores = activate(np.array([0.1, np.nan, 0.2], np.float32), replace(shelf.card("bert"), activation=kind))
    assert np.isnan(scores).tolist() == [False, True, False]

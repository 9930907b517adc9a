"""For every family, a packed batch scores as its independent reference does on padded input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.checkpoints import DOCUMENTS, QUERY, SENTENCES
from tests.models.cases import CASES, DRIFT, FLOAT32, PAIRS, encoded, reference_of, scale, scorer_of
from tests.models.packs import chosen, scores

NAMES = tuple(CASES)


@pytest.mark.parametrize("name", NAMES)
def test_float32_equals_the_reference(name: str) -> None:
    """Raw scores are within 1e-5 of the reference's, whatever the lengths in the batch."""
    want = reference_of(name, QUERY, PAIRS)
    got = scores(scorer_of(name), encoded(name, QUERY, PAIRS))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=FLOAT32 * scale(want), rtol=0)
    assert np.ptp(want) > 0.1, "the reference tells these documents apart"


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_in_its_bound_and_keeps_order(name: str) -> None:
    """bfloat16 scores stay within the family's bound of float32, and any two documents further apart than twice that keep their order."""
    want = reference_of(name, QUERY, PAIRS)
    bound = CASES[name].bfloat16 * float(np.ptp(want))
    got = scores(scorer_of(name, dtype="bfloat16"), encoded(name, QUERY, PAIRS))
    assert np.abs(got - want).max() <= bound
    for one, other in itertools.combinations(range(len(PAIRS)), 2):
        if abs(want[one] - want[other]) > 2 * bound:
            assert (got[one] > got[other]) == (want[one] > want[other])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.causal])
def test_a_shared_prefix_changes_nothing(name: str) -> None:
    """Documents behind a prefix computed once score as they do in sequences of their own, to float32 tolerance."""
    together = encoded(name, QUERY, PAIRS)
    alone = [encoded(name, QUERY, [document]) for document in PAIRS]
    assert together.shared != CASES[name].unshared
    assert not any(request.shared for request in alone)
    scorer = scorer_of(name)
    got, want = scores(scorer, together), scores(scorer, *alone)
    np.testing.assert_allclose(got, want, atol=DRIFT * scale(want), rtol=0)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.listwise])
def test_company_and_order_do_not_matter(name: str) -> None:
    """A pair alone, in any batch, in any order and beside other requests scores the same within the stated drift."""
    scorer, request = scorer_of(name), encoded(name, QUERY, PAIRS)
    whole = scores(scorer, request)
    drift = DRIFT * scale(whole)
    order = np.random.default_rng(3).permutation(len(PAIRS)).tolist()
    np.testing.assert_allclose(scores(scorer, chosen(request, order)), whole[order], atol=drift, rtol=0)
    for document in (0, 2, len(PAIRS) - 1):
        np.testing.assert_allclose(scores(scorer, chosen(request, [document])), whole[document], atol=drift, rtol=0)
    other = encoded(name, "who walked on the moon?", SENTENCES[3:9])
    beside = scores(scorer, other, chosen(request, order[:5]), other, chosen(request, order[5:]))
    lone = scores(scorer, other)
    np.testing.assert_allclose(beside, np.concatenate([lone, whole[order[:5]], lone, whole[order[5:]]]), atol=drift, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_leaves_no_trace(name: str) -> None:
    """Warming up scores something and changes nothing."""
    scorer, request = scorer_of(name), encoded(name, QUERY, DOCUMENTS)
    before = scores(scorer, request)
    scorer.warm_up(700)
    np.testing.assert_array_equal(scores(scorer, request), before)
    assert scorer.memory_bytes() > 10_000
    assert (scorer.device, scorer.dtype) == ("cpu", "float32")
    assert scorer.backend == ("padded" if scorer.padded else "sdpa-runs")

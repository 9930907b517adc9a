"""Percentiles, arrivals, exponents and summaries of the load generator."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.load.runs import inside
from service.load.stats import Answer, fitted_exponent, percentile, poisson_arrivals, summarize


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_is_a_measured_value_that_enough_values_do_not_exceed(values: list[float], share: float) -> None:
    """The result is one of the values, at least `share` of them are not above it, and no smaller one would do."""
    result = percentile(values, share)
    assert result in values
    need = max(math.ceil(share * len(values)), 1)
    assert sum(value <= result for value in values) >= need
    assert sum(value < result for value in values) < need


def test_percentiles_of_a_known_list() -> None:
    """Nearest rank on 1..100."""
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0, 0.0)] == [50, 95, 99, 100, 1]
    assert math.isnan(percentile([], 0.5))
    with pytest.raises(ValueError, match="share"):
        percentile(values, 99)


def test_arrivals_are_poisson_and_repeatable() -> None:
    """Gaps average 1/rate with a standard deviation as large, times only grow, the seed decides."""
    times = list(itertools.islice(poisson_arrivals(50.0, seed=3), 20_000))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *times])]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert min(gaps) >= 0
    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.05)
    assert times[:100] == list(itertools.islice(poisson_arrivals(50.0, seed=3), 100))
    assert times[:100] != list(itertools.islice(poisson_arrivals(50.0, seed=4), 100))
    with pytest.raises(ValueError, match="rate"):
        next(poisson_arrivals(0, seed=0))


@given(st.floats(0.2, 3), st.floats(0.01, 100))
def test_an_exact_power_law_gives_back_its_exponent(exponent: float, factor: float) -> None:
    """cost = factor * size**exponent is fitted with that exponent."""
    sizes = [1.0, 4.0, 16.0, 256.0, 2000.0]
    assert fitted_exponent(sizes, [factor * size**exponent for size in sizes]) == pytest.approx(exponent)


def test_only_good_answers_count_in_rates_and_latencies() -> None:
    """A refused request is counted by its status and reason, and in no rate or percentile."""
    answers = [
        Answer(200, 0.1, 1.0, 10, 1000),
        Answer(200, 0.3, 2.0, 30, 3000),
        Answer(429, 0.001, 1.5, 10, 0, "429 full"),
        Answer(0, 9.0, 9.0, 10, 0, "TimeoutError"),
    ]
    summary = summarize(answers, 2.0)
    assert (summary.requests, summary.answered, summary.errors) == (4, 2, 2)
    assert (summary.pairs_s, summary.tokens_s, summary.requests_s) == (20, 2000, 1)
    assert (summary.p50_ms, summary.p99_ms, summary.max_ms) == (100, 300, 300)
    assert summary.statuses == {"0": 1, "200": 2, "429": 1}
    assert summary.reasons == {"429 full": 1, "TimeoutError": 1}


def test_a_window_takes_each_answer_once() -> None:
    """Adjoining windows share no answer and lose none; the open loop goes by arrival, so that late answers stay in."""
    answers = [Answer(200, 0.5, finished, 1, 1) for finished in (0.5, 1.0, 1.9, 2.0, 2.4, 3.9)]
    for by_arrival in (False, True):
        first, second = inside(answers, 0, 2, by_arrival=by_arrival), inside(answers, 2, 4, by_arrival=by_arrival)
        assert first + second == answers
    assert len(inside(answers, 0, 2, by_arrival=False)) == 3
    assert len(inside(answers, 0, 2, by_arrival=True)) == 5

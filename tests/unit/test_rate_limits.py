"""Token buckets per caller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import RateLimited
from service.rate_limits import BURST_S, ROW, ROWS, RateLimits, _place, refill

RATES = st.tuples(st.floats(0.01, 1000), st.floats(0.01, 1000))


@given(RATES, st.lists(st.tuples(st.floats(0, 50), st.floats(0, 2000)), max_size=30))
def test_a_bucket_never_gives_more_than_its_rate_and_burst(rates: tuple[float, float], steps: list[tuple[float, float]]) -> None:
    """Over any time t, at most burst + rate * t can be taken without going into debt."""
    row, now, taken = np.zeros(1, ROW)[0], 100.0, 0.0
    refill(row, 7, now, rates)
    full = max(1.0, rates[1] * BURST_S)
    for wait, wanted in steps:
        now += wait
        refill(row, 7, now, rates)
        assert row["tokens"] <= full
        if row["tokens"] >= wanted:
            row["tokens"] -= wanted
            taken += wanted
        assert taken <= (full + rates[1] * (now - 100.0)) * (1 + 1e-9)


def test_callers_do_not_share(tmp_path: Path) -> None:
    """One caller's empty bucket is no one else's; two processes share a caller's."""
    one, other = (RateLimits(0.001, 0.0, tmp_path) for _ in range(2))
    one.admit("a")
    with pytest.raises(RateLimited) as refused:
        other.admit("a")
    assert refused.value.retry_after_s > 900
    other.admit("b")
    RateLimits(0.0, 0.0, tmp_path).admit("a")


def test_debt_is_paid_before_the_next_request() -> None:
    """A request's tokens are known after it was let in; the next one waits for them."""
    limits = RateLimits(0.0, 10.0)
    limits.admit("a")
    limits.charge("a", 1100)
    with pytest.raises(RateLimited) as refused:
        limits.admit("a")
    assert 95 <= refused.value.retry_after_s <= 101


def test_a_crowd_makes_the_longest_silent_leave() -> None:
    """More callers than rows is no error: the one that was silent the longest in its neighbourhood is forgotten."""
    rows = np.zeros(ROWS, ROW)
    for caller in range(1, 4 * ROWS):
        row = rows[_place(rows, caller)]
        refill(row, caller, float(caller), (1.0, 1.0))
    assert (rows["caller"] > 0).all()
    assert int(rows["caller"].max()) == 4 * ROWS - 1

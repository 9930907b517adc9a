"""Curves in the terminal: every point has its place and its mark."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from service.load.chart import chart

numbers = st.floats(0.01, 1e6)


def _cells(lines: list[str]) -> list[str]:
    return [line.partition("┤")[2] for line in lines if "┤" in line]


def test_points_stand_where_they_belong() -> None:
    """The largest x is at the right end, the least y at the bottom, the middle of a logarithmic axis is its geometric mean."""
    lines = chart({"p50": [(50, 1.0), (100, 100.0)], "p99": [(0, 10.0)]}, "pairs/s", "ms", width=11, height=5)
    cells = [line.ljust(11) for line in _cells(lines)]
    assert (cells[4][5], cells[0][10], cells[2][0]) == ("●", "●", "▲")
    assert sum(line.count("·") for line in cells) >= 3, "points of a series are joined"
    assert "● p50   ▲ p99" in lines[0]
    assert lines[-1].endswith("pairs/s")


@given(st.lists(st.tuples(numbers, numbers), max_size=8), st.integers(2, 100), st.integers(2, 40))
def test_any_points_fit(points: list[tuple[float, float]], width: int, height: int) -> None:
    """Nothing is drawn outside, and points leave a mark."""
    lines = chart({"a": points}, "x", "y", width=width, height=height)
    if not points:
        assert lines == ["nothing to draw"]
        return
    cells = _cells(lines)
    assert len(cells) == height
    assert max(map(len, cells)) <= width
    assert 1 <= sum(line.count("●") for line in cells) <= len(points)


def test_what_is_not_a_number_is_left_out() -> None:
    """A run without an answer has no latency, and spoils no chart."""
    assert chart({"a": [(1, math.nan)]}, "x", "y") == ["nothing to draw"]
    assert sum(line.count("●") for line in _cells(chart({"a": [(1, math.nan), (2, 5.0)]}, "x", "y"))) == 1

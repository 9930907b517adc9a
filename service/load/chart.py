"""Curves in the terminal: text out of numbers, no terminal needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

MARKS = "●▲■◆"
DOT = "·"
LABEL = 9
"""Columns left of the axis."""
TICKS_EVERY = 4

Points = Sequence[tuple[float, float]]


def chart(series: Mapping[str, Points], x_name: str, y_name: str, *, width: int = 72, height: int = 16) -> list[str]:
    """Return lines that show every series with a mark of its own, joined by dots: x linear from 0, y logarithmic.

    Points that are not finite, or whose y is not above 0, are left out.
    """
    kept = {name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and y > 0] for name, points in series.items()}
    all_points = [point for points in kept.values() for point in points]
    if not all_points:
        return ["nothing to draw"]
    right = max(x for x, _ in all_points) or 1.0
    low, high = _span([y for _, y in all_points])
    grid = [[" "] * width for _ in range(height)]

    def place(x: float, y: float) -> tuple[int, int]:
        up = (math.log(y) - math.log(low)) / (math.log(high) - math.log(low))
        return height - 1 - round(up * (height - 1)), round(max(x, 0.0) / right * (width - 1))

    for points in kept.values():
        _join(grid, [place(*point) for point in points])
    for mark, points in zip(MARKS, kept.values(), strict=False):
        for point in points:
            row, column = place(*point)
            grid[row][column] = mark
    legend = "   ".join(f"{mark} {name}" for mark, name in zip(MARKS, kept, strict=False))
    body = [f"{_label(row, height, low, high):>{LABEL}} ┤{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    axis = f"{'':>{LABEL}} └{'─' * width}"
    ends = f"{'':>{LABEL}}  0{_short(right):>{width - 1}}"
    return [f"{y_name:>{LABEL}}   {legend}", *body, axis, ends, f"{x_name:>{LABEL + 2 + width}}"]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Bounds of a logarithmic axis; never empty."""
    low, high = min(values), max(values)
    return (low, high) if high > low * 1.01 else (low / 1.5, high * 1.5)


def _join(grid: list[list[str]], places: Sequence[tuple[int, int]]) -> None:
    for (row, column), (row_after, column_after) in pairwise(places):
        steps = max(abs(row_after - row), abs(column_after - column), 1)
        for step in range(steps):
            share = step / steps
            grid[round(row + share * (row_after - row))][round(column + share * (column_after - column))] = DOT


def _label(row: int, height: int, low: float, high: float) -> str:
    if row % TICKS_EVERY and row != height - 1:
        return ""
    return _short(low * (high / low) ** ((height - 1 - row) / (height - 1)))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

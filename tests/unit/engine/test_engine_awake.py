"""A silence while the machine stood still is nobody's fault."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batching.awake import ASLEEP_S, Watch

steps = st.lists(st.floats(0.01, ASLEEP_S - 0.1), min_size=1, max_size=20)


def test_the_first_look_knows_nothing() -> None:
    """Whatever the clock says, what was before the first look was not seen."""
    assert Watch().look(1e6) == 0.0


@given(steps)
def test_looks_without_a_gap_add_up(gaps: list[float]) -> None:
    """Time that was looked through counts whole."""
    watch, now = Watch(), 500.0
    watch.look(now)
    for gap in gaps:
        now += gap
        seen = watch.look(now)
    assert abs(seen - sum(gaps)) < 1e-6


@given(steps, st.floats(ASLEEP_S + 0.1, 1e5))
def test_a_gap_starts_anew(gaps: list[float], asleep: float) -> None:
    """After the machine slept nothing from before counts."""
    watch, now = Watch(), 500.0
    for gap in gaps:
        now += gap
        watch.look(now)
    assert watch.look(now + asleep) == 0.0
    assert abs(watch.look(now + asleep + 1.0) - 1.0) < 1e-6

"""The table of states says everything: what it does not list can't happen, and a move that is refused changes nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching import states
from batching.states import ENDS, MOVES, Actor, IllegalMove, State, move

columns = st.lists(st.sampled_from(list(State)), min_size=1, max_size=12)


@given(columns, st.data())
def test_only_the_moves_of_the_table_happen(column: list[State], data: st.DataObject) -> None:
    """A move changes exactly its rows if the table has it and every row is where it says, and otherwise raises and changes nothing."""
    old, new, actor = (data.draw(st.sampled_from(list(kind))) for kind in (State, State, Actor))
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(column) - 1)))), np.intp)
    before = np.array([int(state) for state in column], np.uint32)
    after = before.copy()
    legal = actor in MOVES.get((old, new), ()) and all(column[row] == old for row in rows)
    if legal:
        move(after, rows, old, new, actor)
        assert (after[rows] == int(new)).all()
        untouched = np.ones(len(column), bool)
        untouched[rows] = False
        np.testing.assert_array_equal(after[untouched], before[untouched])
    else:
        with pytest.raises(IllegalMove):
            move(after, rows, old, new, actor)
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(("old", "new"), MOVES)
def test_every_legal_move_has_an_actor_and_refuses_the_others(old: State, new: State) -> None:
    """Each listed move works for each actor that it names, and raises for each that it does not."""
    assert MOVES[old, new]
    for actor in Actor:
        column = np.array([int(old)], np.uint32)
        if actor in MOVES[old, new]:
            move(column, np.array([0]), old, new, actor)
            assert column[0] == int(new)
        else:
            with pytest.raises(IllegalMove, match=actor.name):
                move(column, np.array([0]), old, new, actor)
            assert column[0] == int(old)


def test_one_row_in_another_state_stops_the_whole_move() -> None:
    """Rows move together or not at all, and the message names those that were elsewhere."""
    column = np.array([State.WAITING, State.DONE, State.WAITING], np.uint32)
    with pytest.raises(IllegalMove, match=r"rows \[1\] are in states \[3\], not WAITING"):
        move(column, np.array([0, 1, 2]), State.WAITING, State.LEASED, Actor.CLAIMER)
    assert column.tolist() == [State.WAITING, State.DONE, State.WAITING]


def test_every_state_can_be_reached_and_left() -> None:
    """From FREE each state can be reached, and from each state FREE can be: no entry can be stuck by the table."""
    assert _reached(State.FREE, {(old, new) for old, new in MOVES}) == set(State)
    assert _reached(State.FREE, {(new, old) for old, new in MOVES}) == set(State)


def test_ends_lead_only_to_free_and_belong_to_the_owner() -> None:
    """An entry that ended has one way to go, which is its owner's."""
    for state in ENDS:
        assert {new: actors for (old, new), actors in MOVES.items() if old == state} == {State.FREE: {Actor.OWNER}}


def test_no_state_is_written_by_two_processes_that_may_live_at_once() -> None:
    """Out of WAITING only a claimer moves; out of LEASED only the leasing worker, or the reaper once that worker is dead."""
    assert {actor for (old, _), actors in MOVES.items() if old == State.WAITING for actor in actors} == {Actor.CLAIMER}
    assert {actor for (old, _), actors in MOVES.items() if old == State.LEASED for actor in actors} == {Actor.WORKER, Actor.REAPER}


def test_the_diagram_shows_the_table() -> None:
    """The drawing in the module's docstring has every state, and its arrows are the table's moves, named as in the drawing."""
    drawing = (states.__doc__ or "").split("\n\n")[1]
    assert set(re.findall(r"\b[A-Z]{4,}\b", drawing)) == {state.name for state in State}
    named = {
        "put": (State.FREE, State.WAITING),
        "lease": (State.WAITING, State.LEASED),
        "drop": (State.WAITING, State.CANCELLED),
        "complete": (State.LEASED, State.DONE),
        "fail": (State.LEASED, State.FAILED),
        "give back": (State.LEASED, State.WAITING),
    }
    collects = {(state, State.FREE) for state in ENDS}
    assert set(MOVES) == set(named.values()) | collects
    assert set(re.findall(r"[a-z]{2,}(?: [a-z]+)*", drawing)) == {*named, "reap", "collect"}
    for name in ("put", "lease", "complete"):
        assert _drawn(drawing, name) == tuple(state.name for state in named[name])


def test_plain_integers_are_the_states() -> None:
    """The module's integers, which the scans compare with, are the enumeration's values."""
    assert [getattr(states, state.name) for state in State] == [int(state) for state in State]


def _drawn(drawing: str, name: str) -> tuple[str, str]:
    """The two states on the line below a horizontal arrow's name that stand nearest to it."""
    lines = drawing.splitlines()
    number = next(number for number, line in enumerate(lines) if re.search(rf"\b{name}\b", line))
    at = lines[number].index(name)
    words = [(found.start(), found.group()) for found in re.finditer(r"[A-Z]{4,}", lines[number + 1])]
    return max(word for word in words if word[0] < at)[1], min(word for word in words if word[0] > at)[1]


def _reached(start: State, moves: set[tuple[State, State]]) -> set[State]:
    found = {start}
    while more := {new for old, new in moves if old in found} - found:
        found |= more
    return found

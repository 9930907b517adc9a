"""What the parent does with a worker, decided without processes or clocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.restart import Action, ChildView, Policy, backoff_s, exit_words, next_action

POLICY = Policy(forward_limit_s=10.0, load_limit_s=100.0, backoff_s=0.25, max_backoff_s=30.0, max_crashes=5)
WELL = ChildView(
    running=True,
    exit_code=None,
    state="ready",
    age_s=50.0,
    heartbeat_age_s=0.05,
    forward_running_s=0.0,
    crashes=0,
    ended_age_s=99.0,
    was_ready=True,
)
GONE = replace(WELL, running=False, state="starting")

views = st.builds(
    ChildView,
    running=st.booleans(),
    exit_code=st.none() | st.integers(-15, 3),
    state=st.sampled_from(["empty", "starting", "ready", "draining", "failed"]),
    age_s=st.floats(0, 1000),
    heartbeat_age_s=st.floats(0, 1000),
    forward_running_s=st.floats(0, 1000),
    crashes=st.integers(0, 8),
    ended_age_s=st.floats(0, 1000),
    was_ready=st.booleans(),
)


def test_a_worker_that_is_well_is_left_alone() -> None:
    """Ready, beating and not long at one batch: nothing to do."""
    assert next_action(WELL, POLICY) is Action.NOTHING


@pytest.mark.parametrize("state", ["ready", "draining"])
@pytest.mark.parametrize("sign", ["heartbeat_age_s", "forward_running_s"])
def test_a_stuck_worker_is_killed_after_the_forward_limit(state: str, sign: str) -> None:
    """A heart that stopped, or a batch that does not end, for longer than the limit; not a moment earlier."""
    assert next_action(replace(WELL, state=state, **{sign: 9.9}), POLICY) is Action.NOTHING
    assert next_action(replace(WELL, state=state, **{sign: 10.1}), POLICY) is Action.KILL


def test_loading_has_a_limit_of_its_own() -> None:
    """While a worker loads it need not beat, but it must not load for ever."""
    assert next_action(replace(WELL, state="starting", age_s=99.0, heartbeat_age_s=99.0), POLICY) is Action.NOTHING
    assert next_action(replace(WELL, state="starting", age_s=101.0), POLICY) is Action.KILL


@given(views.filter(lambda view: view.exit_code is not None))
def test_whoever_ended_is_buried_first(view: ChildView) -> None:
    """Whatever else is true, a process that has ended is buried before anything is done for its slot."""
    assert next_action(view, POLICY) is Action.BURY


@given(views.filter(lambda view: view.exit_code is None and not view.running))
def test_a_slot_is_filled_until_it_is_given_up(view: ChildView) -> None:
    """An empty slot is waited for, filled, given up (once), or left: never killed or buried. What was ready before is tried again."""
    action = next_action(view, POLICY)
    if view.crashes >= POLICY.max_crashes and view.state != "failed":
        assert action is Action.GIVE_UP
    elif view.crashes >= POLICY.max_crashes and not view.was_ready:
        assert action is Action.NOTHING
    else:
        assert action is (Action.SPAWN if view.ended_age_s >= backoff_s(view.crashes, POLICY) else Action.NOTHING)


def test_the_first_crash_costs_no_time() -> None:
    """A worker that crashed once is started at once; each further crash in a row doubles the wait, up to a limit."""
    assert next_action(replace(GONE, crashes=1, ended_age_s=0.0), POLICY) is Action.SPAWN
    assert [backoff_s(crashes, POLICY) for crashes in (0, 1, 2, 3, 4, 5)] == [0.0, 0.0, 0.25, 0.5, 1.0, 2.0]
    assert backoff_s(60, POLICY) == POLICY.max_backoff_s


@given(st.integers(0, 200))
def test_back_off_never_shrinks(crashes: int) -> None:
    """More crashes never mean a shorter wait, and no wait is longer than the limit."""
    assert backoff_s(crashes, POLICY) <= backoff_s(crashes + 1, POLICY) <= POLICY.max_backoff_s


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-64, "SIGRTMAX"), (-99, "signal 99")]
)
def test_exit_codes_are_readable(code: int, words: str) -> None:
    """An operator reads the signal's name, not its number."""
    assert exit_words(code) == words

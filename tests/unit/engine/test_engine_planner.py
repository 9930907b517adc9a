"""The planner: within limits, in order, nothing unwanted, suspects alone, and the device never left idle while work waits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batching.planner import FILL_LOOK, Limits, Plan, Waiting, plan

NOW = 100.0


def waiting(*rows: dict[str, float]) -> Waiting:
    """Waiting entries from one dictionary each; what is left out is ordinary."""
    usual = {"request": 0, "start_tag": 0.0, "priority": 0, "cost": 10, "scores": 1, "deadline": NOW + 1, "cancelled": False, "attempts": 0}
    kinds = {"request": np.uint64, "start_tag": np.float64, "deadline": np.float64, "cancelled": np.bool_}
    filled = [usual | row for row in rows]
    return Waiting(**{name: np.array([row[name] for row in filled], kinds.get(name, np.uint32)) for name in usual})


entries = st.fixed_dictionaries(
    {
        "request": st.integers(0, 5),
        "start_tag": st.sampled_from([0.0, 1.0, 5.0, 5.5, 80.0, 1e9]),
        "priority": st.integers(0, 3),
        "cost": st.integers(1, 60),
        "scores": st.integers(1, 12),
        "deadline": st.sampled_from([NOW - 1, NOW, NOW + 0.001, NOW + 60]),
        "cancelled": st.booleans(),
        "attempts": st.sampled_from([0, 0, 0, 1]),
    }
)
queues = st.lists(entries, max_size=30).map(lambda rows: waiting(*rows))
limits = st.builds(
    Limits,
    budget_tokens=st.integers(1, 120),
    max_pairs=st.none() | st.integers(1, 20),
    sharers=st.integers(1, 4),
    suspects=st.booleans(),
)
times = st.floats(0, 2e9)


def planned(queue: Waiting, limit: Limits, virtual_time: float = 0.0) -> Plan:
    return plan(queue, limit, NOW, virtual_time)


def wanted(queue: Waiting) -> list[int]:
    """Entries that somebody waits for, in order of service."""
    alive = np.flatnonzero(~queue.cancelled & (queue.deadline > NOW)).tolist()
    return sorted(
        alive, key=lambda index: (queue.start_tag[index] + queue.cost[index] * queue.priority[index], queue.priority[index], index)
    )


@given(queues, limits)
def test_never_over_the_limits_but_for_a_single_entry(queue: Waiting, limit: Limits) -> None:
    """A batch of more than one entry is within the tokens and the pairs."""
    take = planned(queue, limit).take
    if len(take) > 1:
        assert int(queue.cost[take].sum()) <= limit.budget_tokens
        assert limit.max_pairs is None or int(queue.scores[take].sum()) <= limit.max_pairs


@given(queues, limits)
def test_expired_and_cancelled_entries_are_dropped_and_only_they(queue: Waiting, limit: Limits) -> None:
    """What nobody waits for is returned for dropping, whatever the limits; nothing is taken and dropped, or taken twice."""
    found = planned(queue, limit)
    assert found.drop.tolist() == [index for index in range(len(queue.cost)) if queue.cancelled[index] or queue.deadline[index] <= NOW]
    assert len({*found.take.tolist(), *found.drop.tolist()}) == len(found.take) + len(found.drop)


@given(queues, limits)
def test_a_free_worker_is_never_sent_away_from_work(queue: Waiting, limit: Limits) -> None:
    """The lowest tag, then priority, then place is always taken, unless it is a suspect and none is wanted now: nobody passes it then."""
    take, live = planned(queue, limit).take.tolist(), wanted(queue)
    if live and (limit.suspects or not queue.attempts[live[0]]):
        assert take[0] == live[0]
    else:
        assert not take


@given(queues, limits)
def test_suspects_go_alone(queue: Waiting, limit: Limits) -> None:
    """An entry that was there when a worker died shares its batch with nobody, and is not taken where suspects are not wanted."""
    take = planned(queue, limit).take
    if queue.attempts[take].any():
        assert len(take) == 1
        assert limit.suspects


@given(queues, st.builds(Limits, budget_tokens=st.integers(1, 120), max_pairs=st.none() | st.integers(1, 20)))
def test_what_was_passed_over_did_not_fit(queue: Waiting, limit: Limits) -> None:
    """An entry that stands before the last one taken, and is no suspect, was left because tokens or pairs had no room for it."""
    take = planned(queue, limit).take.tolist()
    if len(take) < 2:
        return
    order = wanted(queue)
    last = max(order.index(index) for index in take)
    tokens, pairs = int(queue.cost[take].sum()), int(queue.scores[take].sum())
    for index in order[:last]:
        if index not in take and not queue.attempts[index]:
            too_long = tokens + queue.cost[index] > limit.budget_tokens
            too_many = limit.max_pairs is not None and pairs + queue.scores[index] > limit.max_pairs
            assert too_long or too_many


@given(queues, limits, times)
def test_virtual_time_moves_by_the_service_given(queue: Waiting, limit: Limits, before: float) -> None:
    """It never goes back, stands still when nothing is taken, and otherwise passes the first tag by the cost's share per request."""
    found = planned(queue, limit, before)
    if not len(found.take):
        assert found.virtual_time == before
        return
    active = len({int(queue.request[index]) for index in wanted(queue)})
    assert found.virtual_time == max(before, queue.start_tag[found.take[0]]) + queue.cost[found.take].sum() / active


@given(queues, st.integers(1, 120), st.integers(2, 4))
def test_sharers_divide_what_waits(queue: Waiting, budget: int, sharers: int) -> None:
    """With idle workers to share, one takes at most its part of the waiting tokens, or a single entry."""
    found = planned(queue, Limits(budget, sharers=sharers))
    live = [index for index in wanted(queue) if not queue.attempts[index]]
    if len(found.take) > 1:
        assert queue.cost[found.take].sum() <= -(-int(queue.cost[live].sum()) // sharers)


def test_ties_go_by_priority_then_place() -> None:
    """Entries with one tag are taken by priority, equal ones as they lie."""
    queue = waiting({"priority": 2}, {"priority": 0}, {"priority": 1}, {"priority": 0})
    assert planned(queue, Limits(40)).take.tolist() == [1, 3, 2, 0]


def test_a_gap_is_filled_from_close_behind() -> None:
    """When the next entry does not fit, smaller ones behind it use the rest of the budget, as far as the planner looks."""
    queue = waiting({"cost": 30}, {"cost": 90, "start_tag": 1}, {"cost": 10, "start_tag": 2}, {"cost": 8, "start_tag": 3})
    assert planned(queue, Limits(100)).take.tolist() == [0, 2, 3]
    far = waiting({"cost": 30}, *[{"cost": 90, "start_tag": 1}] * FILL_LOOK, {"cost": 10, "start_tag": 2})
    assert planned(far, Limits(100)).take.tolist() == [0]


def test_an_entry_over_the_limits_goes_alone() -> None:
    """What alone exceeds the budget or the pairs is taken alone, not left for ever."""
    assert planned(waiting({"cost": 500}, {"cost": 1, "start_tag": 1}), Limits(100)).take.tolist() == [0]
    assert planned(waiting({"scores": 50}, {"start_tag": 1}), Limits(100, max_pairs=8)).take.tolist() == [0]


def test_a_suspect_is_not_passed_for_ever() -> None:
    """While batches are under way a suspect stays, but when it is next nobody passes it, so that the device runs empty for it."""
    queue = waiting({"attempts": 1, "start_tag": 3}, {"start_tag": 5}, {"start_tag": 1})
    assert planned(queue, Limits(10, suspects=False)).take.tolist() == [2]
    queue = waiting({"attempts": 1, "start_tag": 3}, {"start_tag": 5})
    assert planned(queue, Limits(100, suspects=False)).take.tolist() == []
    assert planned(queue, Limits(100)).take.tolist() == [0]


def test_nothing_waits() -> None:
    """An empty queue gives an empty plan and keeps virtual time."""
    found = planned(waiting(), Limits(100), 7.5)
    assert (found.take.tolist(), found.drop.tolist(), found.virtual_time) == ([], [], 7.5)

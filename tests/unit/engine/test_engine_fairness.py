"""Fairness, simulated: the planner serves one batch a step while requests keep coming. No clock and no processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.planner import Limits, Waiting, plan

BUDGET = 64


@dataclass
class Simulation:
    """One queue and one worker, in steps of one batch. An entry is (request, tag, priority, cost, step when it was put)."""

    entries: list[tuple[int, float, int, int, int]] = field(default_factory=list)
    virtual_time: float = 0.0
    step: int = 0
    requests: int = 0
    leased_at: dict[int, list[int]] = field(default_factory=dict)
    """The steps at which each request's entries were leased."""

    @property
    def tokens(self) -> int:
        return sum(entry[3] for entry in self.entries)

    def put(self, entries: int, cost: int, priority: int = 0) -> int:
        """A request arrives, tagged as the client tags it."""
        self.requests += 1
        for place in range(entries):
            tag = self.virtual_time + place * cost * (1.0 + priority)
            self.entries.append((self.requests, tag, priority, cost, self.step))
        self.leased_at[self.requests] = []
        return self.requests

    def serve(self) -> None:
        """One batch."""
        self.step += 1
        if not self.entries:
            return
        request, tag, priority, cost, _ = zip(*self.entries, strict=True)
        count = len(self.entries)
        queue = Waiting(
            request=np.array(request, np.uint64), start_tag=np.array(tag), priority=np.array(priority, np.uint32),
            cost=np.array(cost, np.uint32), scores=np.ones(count, np.uint32), deadline=np.full(count, np.inf),
            cancelled=np.zeros(count, np.bool_), attempts=np.zeros(count, np.uint32),
        )  # fmt: skip
        found = plan(queue, Limits(BUDGET), 0.0, self.virtual_time)
        self.virtual_time = found.virtual_time
        for index in found.take.tolist():
            self.leased_at[request[index]].append(self.step)
        taken = set(found.take.tolist())
        self.entries = [entry for index, entry in enumerate(self.entries) if index not in taken]

    def serve_until(self, done: Callable[[], bool], limit: int, before: Callable[[], None] = lambda: None) -> int:
        """Serve, with `before` ahead of each batch, until `done`; how many batches. Fails past `limit`."""
        began = self.step
        while not done():
            assert self.step - began < limit, f"not served within {limit} batches"
            before()
            self.serve()
        return self.step - began


@settings(max_examples=25)
@given(
    entries=st.integers(2, 12), entry_cost=st.sampled_from([8, 16, 40]), small_cost=st.sampled_from([4, 8]),
    room=st.sampled_from([96, 256]), priority=st.integers(0, 1),
)  # fmt: skip
def test_no_entry_starves_behind_newcomers_that_fill_the_device(
    entries: int, entry_cost: int, small_cost: int, room: int, priority: int
) -> None:
    """While small requests come for ever, as many as admission lets in, each entry of a large request is leased within a bound.

    The bound: virtual time advances by a batch's cost, shared by at most as many requests as the queue has room for.
    """
    queue = Simulation()
    large = queue.put(entries, entry_cost, priority)

    def fill() -> None:
        while queue.tokens + small_cost <= room:
            queue.put(1, small_cost)

    work = entries * entry_cost * (1 + priority)
    bound = math.ceil(work / BUDGET * (room / small_cost + 1)) + entries + 2
    queue.serve_until(lambda: len(queue.leased_at[large]) == entries, bound, fill)


@settings(max_examples=60)
@given(
    larges=st.integers(1, 12), tail=st.integers(2, 60), cost=st.sampled_from([8, 16]), served=st.integers(0, 40),
    small=st.integers(1, BUDGET // 4),
)  # fmt: skip
def test_a_small_newcomer_passes_the_tails_of_any_number_of_large_requests(
    larges: int, tail: int, cost: int, served: int, small: int
) -> None:
    """Its wait is bounded by one entry per large request, however long their tails and however much was served before."""
    queue = Simulation()
    for _ in range(larges):
        queue.put(tail, cost)
    for _ in range(served):
        queue.serve()
    newcomer = queue.put(1, small)
    bound = math.ceil(2 * larges * cost / BUDGET) + 2
    queue.serve_until(lambda: bool(queue.leased_at[newcomer]), bound)


@settings(max_examples=40)
@given(larges=st.integers(2, 6), tail=st.integers(4, 40), cost=st.sampled_from([4, 8, 16]))
def test_equal_requests_finish_together(larges: int, tail: int, cost: int) -> None:
    """Requests of one size that came together are served in turn: at no time is one ahead of another by more than a batch."""
    queue = Simulation()
    requests = [queue.put(tail, cost) for _ in range(larges)]
    while queue.entries:
        queue.serve()
        served = [len(queue.leased_at[request]) * cost for request in requests]
        assert max(served) - min(served) <= BUDGET + cost


def test_priority_is_a_weight() -> None:
    """Of two long requests the one of weight two gets about half the service of the other, and not nothing."""
    queue = Simulation()
    first, second = queue.put(400, 8), queue.put(400, 8, priority=1)
    for _ in range(30):
        queue.serve()
    ratio = len(queue.leased_at[first]) / len(queue.leased_at[second])
    assert 1.8 < ratio < 2.2


def test_priority_orders_those_who_came_together() -> None:
    """Small requests that arrive within one batch are served by priority."""
    queue = Simulation()
    late = [queue.put(1, 32, priority=2) for _ in range(2)]
    early = [queue.put(1, 32) for _ in range(2)]
    queue.serve()
    assert all(queue.leased_at[request] == [1] for request in early)
    queue.serve()
    assert all(queue.leased_at[request] == [2] for request in late)


def test_urgent_newcomers_pass_the_patient_for_a_while() -> None:
    """Small requests stand back for more urgent ones that come later, but not for ever."""
    queue = Simulation()
    patient = [queue.put(1, 32, priority=10) for _ in range(6)]
    queue.serve()
    urgent = queue.put(1, 32)
    queue.serve()
    assert queue.leased_at[urgent] == [2]

    def fill() -> None:
        queue.put(2, 32)

    queue.serve_until(lambda: all(queue.leased_at[request] for request in patient), 100, fill)


def test_an_idle_queue_gives_no_credit() -> None:
    """A request that comes after a pause does not stand behind, or ahead of, what virtual time was spent on before."""
    queue = Simulation()
    queue.put(50, 16)
    queue.serve_until(lambda: not queue.entries, 50)
    first, second = queue.put(10, 16), queue.put(10, 16)
    queue.serve_until(lambda: not queue.entries, 10)
    assert abs(queue.leased_at[first][-1] - queue.leased_at[second][-1]) <= 1

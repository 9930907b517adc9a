"""Shared memory that somebody else has written to: nobody falls over, entries that can't end are taken back, and good ones go on."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batching.arena_layout import HEADER_BYTES, ROW_BYTES, ArenaShape
from batching.board import BoardShape
from batching.cut import Cut
from batching.lease import Corrupt, Lease
from batching.owner import Owner, Stamp
from batching.planner import Limits
from batching.queue import Queue
from batching.queue_files import QueueShape, make_queue
from batching.states import FREE, Failure, State
from tests.fakes import expected, known_scores, sequences

ROWS, HEAP, WORKERS = 8, 4096, 2
REQUESTS = [sequences([[number, 2], [3, number, 5]]) for number in range(1, 30)]


class Site:
    """An owner, a queue, and what a worker does with whatever it gets."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rr-"))
        make_queue(self.directory / "q", QueueShape(BoardShape(WORKERS, 1, 10_000), ArenaShape(ROWS, HEAP)))
        self.owner: Owner[int] = Owner(self.directory / "q", 0)
        self.queue = Queue(self.directory / "q")
        self.leases: list[Lease] = []
        self.told: list[int] = []

    def close(self) -> None:
        self.owner.close()
        self.queue.close()
        shutil.rmtree(self.directory)

    def put(self, number: int = 0) -> int | None:
        request = REQUESTS[number % len(REQUESTS)]
        return self.owner.put(Cut(request, slice(None), request.tokens), Stamp(1e9, 0.0, 0, number, b""), number)

    def lease(self) -> None:
        if lease := self.queue.lease(0, Limits(20), 100.0):
            self.leases.append(lease)

    def work(self) -> None:
        """Score the oldest lease as a worker does."""
        if not self.leases:
            return
        lease = self.leases.pop(0)
        try:
            pack = self.queue.pack(lease)
        except Corrupt:
            if lease.entries > 1:
                self.queue.give_back(lease, suspect=True)
            else:
                self.queue.fail(lease, Failure.CORRUPT)
            return
        self.queue.start(lease)
        scores = known_scores(pack)
        if len(scores) == pack.scores:
            self.queue.complete(lease, scores, 0.1)
        else:
            self.queue.fail(lease, Failure.SCORING)

    def collect(self) -> None:
        self.told += [holder for holder, _ in self.owner.collect() + self.owner.collect_spoilt()]

    def reap(self) -> None:
        self.leases = []
        self.queue.reap(0)

    def succeed(self) -> None:
        """The owner dies; another takes over."""
        self.owner.close()
        self.owner = Owner(self.directory / "q", 0)


@pytest.fixture
def site():
    found = Site()
    yield found
    found.close()


@pytest.mark.parametrize("state", [FREE, 6, 77, 2**32 - 1])
def test_an_entry_in_no_state_is_taken_back(site: Site, state: int) -> None:
    """Its holder is told that it failed, and its row and bytes are used again; entries beside it go on."""
    bad, good = site.put(1), site.put(2)
    assert bad is not None
    site.owner.arena.states[bad] = state
    site.collect()
    assert site.told == [1]
    assert site.owner.in_use == 1
    site.lease()
    site.work()
    [(holder, ended)] = site.owner.collect()
    assert (holder, ended.row) == (2, good)
    np.testing.assert_array_equal(ended.scores, expected(REQUESTS[2]))
    assert "8 rows free, Heap(0 of" in repr(site.owner)


@pytest.mark.parametrize("when", ["waiting", "leased", "done"])
def test_a_row_of_another_generation_is_taken_back(site: Site, when: str) -> None:
    """No worker could finish it: it fails at its owner's next look, wherever it was."""
    row = site.put(1)
    assert row is not None
    if when != "waiting":
        site.lease()
    site.owner.arena.rows["generation"][row] += 5
    if when == "done":
        site.work()
    site.collect()
    assert site.told == [1]
    assert "8 rows free, Heap(0 of" in repr(site.owner)
    site.work()
    assert site.put(2) == row
    site.lease()
    site.work()
    site.collect()
    assert site.told == [1, 2]


@pytest.mark.parametrize("state", [State.DONE, State.FAILED, State.CANCELLED])
def test_an_end_that_nobody_put_is_cleared(site: Site, state: State) -> None:
    """A free row that claims to have ended is free again, and is not counted twice."""
    site.put(1), site.put(2)
    site.lease()
    site.work()
    site.owner.arena.states[0] = FREE
    site.owner.arena.header["high"][0] = 8
    site.owner._high = 8
    site.owner.arena.states[5] = int(state)
    site.collect()
    assert not site.owner.arena.states.any()
    assert "8 rows free, Heap(0 of" in repr(site.owner)


@pytest.mark.parametrize(("field", "value"), [("offset", 1 << 40), ("offset", 64), ("tokens", 2**32 - 1), ("sequences", 0)])
def test_a_successor_is_not_stopped_by_a_spoilt_row(site: Site, field: str, value: int) -> None:
    """Rows that overlap or leave the heap are taken over without bytes of their own, and are dropped like the rest."""
    site.put(1), site.put(2), site.put(3)
    site.owner.arena.rows[field][0] = value
    site.succeed()
    assert site.owner.in_use == 3
    site.lease()
    site.collect()
    assert site.told == []
    assert "8 rows free, Heap(0 of" in repr(site.owner)


steps = st.lists(st.sampled_from(["put", "put", "lease", "work", "collect", "reap", "succeed", "spoil", "spoil"]), min_size=5, max_size=60)


@settings(max_examples=150)
@given(steps, st.integers(0, 1 << 30), st.sampled_from(["states", "rows", "heap", "all"]))
def test_random_bytes_fell_nobody(order: list[str], seed: int, part: str) -> None:
    """Whatever is written over states, rows and payloads between any two steps, no step raises, and afterwards the queue serves again."""
    site, dice = Site(), random.Random(seed)
    try:
        for number, step in enumerate(order):
            if step == "spoil":
                spoil(site, part, dice)
            elif step == "put":
                site.put(number)
            else:
                getattr(site, step)()
        site.reap()
        site.collect()
        site.succeed()
        for _ in range(3 * ROWS):
            site.lease()
            site.work()
            site.collect()
        site.told = []
        if site.owner.in_use < ROWS:
            assert site.put(5) is not None
            site.lease()
            site.work()
            site.collect()
            assert site.told == [5]
    finally:
        site.close()


def spoil(site: Site, part: str, dice: random.Random) -> None:
    """One write, as a hostile peer makes it."""
    arena = site.owner.arena
    row, part = dice.randrange(ROWS), dice.choice(["states", "rows", "heap"]) if part == "all" else part
    if part == "states":
        at, data = HEADER_BYTES + 4 * row, dice.choice([dice.randrange(7), dice.randrange(1 << 32)]).to_bytes(4, "little")
    elif part == "rows":
        size = dice.choice([1, 4, 8, ROW_BYTES])
        at = arena.shape.rows_at + row * ROW_BYTES + dice.randrange(0, ROW_BYTES, size)
        data = dice.choice([bytes(size), b"\xff" * size, dice.randbytes(size)])
    else:
        at, data = arena.shape.heap_at + dice.randrange(HEAP - 64), dice.randbytes(64)
    arena.map[at : at + len(data)] = data

"""The model that the queue is held against: the list of entries that are not free, and what is said of them by shared memory."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from batching.arena_layout import ArenaShape, payload_bytes
from batching.board import BoardShape
from batching.heap import rounded
from batching.lease import Lease
from batching.owner import Owner
from batching.queue import Queue
from batching.queue_files import QueueShape, make_queue
from batching.states import State
from batching.types import Float32s, Sequences
from tests.fakes import sequences

OWNERS, WORKERS, ROWS, HEAP, BUDGET = 2, 2, 6, 2048, 24
requests = st.builds(
    sequences, st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=8), min_size=2, max_size=5), shared=st.booleans()
)


@dataclass(eq=False)
class Entry:
    """The model of an entry."""

    owner: int
    row: int
    request: Sequences
    deadline: float
    state: State = State.WAITING
    worker: int = -1
    started: bool = False
    attempts: int = 0
    cancelled: bool = False
    awaited: bool = True


@dataclass(eq=False)
class Held:
    """A lease, the model's entries in it in the pack's order, and their scores, found when it was leased as a worker would."""

    worker: int
    lease: Lease
    entries: list[Entry]
    scores: Float32s


class QueueModel(RuleBasedStateMachine):
    """A queue over real files, two owners, two workers' leases, and the list of entries that are not free."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rr-")) / "q"
        make_queue(self.directory, QueueShape(BoardShape(WORKERS, OWNERS, 10_000), ArenaShape(ROWS, HEAP)))
        self.owners: list[Owner[Entry] | None] = [Owner(self.directory, index) for index in range(OWNERS)]
        self.queue = Queue(self.directory)
        self.entries: list[Entry] = []
        self.leases: list[Held] = []
        self.stale: list[Held] = []
        self.now, self.requests = 1000.0, 0

    @invariant()
    def shared_memory_says_what_the_list_says(self) -> None:
        """Every row is in its entry's state, all others are free; payloads don't overlap and are as they were written."""
        for index, arena in enumerate(self.queue.arenas):
            mine = [entry for entry in self.entries if entry.owner == index]
            states = np.zeros(ROWS, np.uint32)
            for entry in mine:
                states[entry.row] = int(entry.state)
            assert arena.states.tolist() == states.tolist()
            used = np.zeros(HEAP, np.uint8)
            for entry in mine:
                offset = arena.row(entry.row).offset
                used[offset : offset + size(entry)] += 1
                if entry.state <= State.LEASED:
                    self.check_payload(entry)
            assert used.max() <= 1
            owner = self.owners[index]
            if owner is not None:
                assert owner.in_use == len(mine)
                assert f"{ROWS - len(mine)} rows free, Heap({int(used.sum())} of" in repr(owner)

    def check_payload(self, entry: Entry) -> None:
        arena = self.queue.arenas[entry.owner]
        lengths, _, ids = arena.read(arena.rows[[entry.row]])
        assert lengths.tolist() == entry.request.lengths.tolist()
        assert ids.tolist() == entry.request.ids.tolist()

    def complete(self, held: Held) -> None:
        self.queue.complete(held.lease, held.scores, 0.1)
        self.move(held, State.DONE)

    def move(self, held: Held, state: State) -> None:
        for entry in held.entries:
            if entry.state is State.LEASED:
                entry.state = state

    def unwanted(self, entry: Entry) -> bool:
        return entry.state is State.WAITING and (entry.cancelled or entry.deadline <= self.now)

    def suspects(self) -> bool:
        return any(entry.state is State.WAITING and entry.attempts for entry in self.entries)

    def drop(self) -> None:
        for entry in self.entries:
            if self.unwanted(entry):
                entry.state = State.CANCELLED

    def entry(self, owner: int, row: int) -> Entry:
        return next(entry for entry in self.entries if (entry.owner, entry.row) == (owner, row))


def size(entry: Entry) -> int:
    """Bytes of its payload in the heap."""
    return rounded(payload_bytes(len(entry.request.lengths), entry.request.scores, entry.request.tokens))

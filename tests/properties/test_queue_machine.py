"""The queue against a list, step by step: owners and workers in one process, over real files. Whoever dies, each entry has one right answer."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from batching.bury import bury
from batching.cut import Cut
from batching.errors import StartError
from batching.owner import Owner, Stamp
from batching.planner import Limits
from batching.queue import ENOUGH, FAULT, KILL
from batching.states import Failure, State
from batching.types import Sequences
from tests.fakes import expected, known_scores
from tests.properties.queue_model import BUDGET, HEAP, OWNERS, ROWS, WORKERS, Entry, Held, QueueModel, requests, size

owners, workers = st.integers(0, OWNERS - 1), st.integers(0, WORKERS - 1)


class QueueAgainstList(QueueModel):
    """What owners, workers and the supervisor do, in any order."""

    @rule(index=owners, request=requests, lasts=st.sampled_from([5.0, 1e9]), priority=st.integers(0, 2))
    def put(self, index: int, request: Sequences, lasts: float, priority: int) -> None:
        """A new entry waits, in a row that was free; there is room unless rows or bytes ran out."""
        owner = self.owners[index]
        if owner is None:
            return
        self.requests += 1
        entry = Entry(index, -1, request, self.now + lasts)
        stamp = Stamp(entry.deadline, self.queue.board.virtual_time, priority, self.requests, b"trace")
        row = owner.put(Cut(request, slice(None), request.tokens), stamp, entry)
        mine = [other for other in self.entries if other.owner == index]
        if row is None:
            assert len(mine) == ROWS or sum(size(other) for other in mine) + size(entry) > HEAP // 4
            return
        assert row not in [other.row for other in mine]
        entry.row = row
        self.entries.append(entry)

    @rule(worker=workers, suspects=st.booleans())
    def lease(self, worker: int, suspects: bool) -> None:
        """Only what waits and is wanted is leased, within the budget, suspects alone; what nobody wants any more is dropped on the way."""
        lease = self.queue.lease(worker, Limits(BUDGET, suspects=suspects), self.now)
        self.drop()
        if lease is None:
            assert not [one for one in self.entries if one.state is State.WAITING and (suspects or not self.suspects())]
            return
        pack, entries = self.queue.pack(lease), [self.entry(share.arena, row) for share in lease.shares for row in share.rows.tolist()]
        assert pack.ids.tolist() == [token for entry in entries for token in entry.request.ids.tolist()]
        assert all(entry.state is State.WAITING and (suspects or not entry.attempts) for entry in entries)
        assert len(entries) == 1 or (pack.tokens <= BUDGET and not any(entry.attempts for entry in entries))
        assert lease.suspect == any(entry.attempts for entry in entries)
        for entry in entries:
            entry.state, entry.worker, entry.started = State.LEASED, worker, False
        self.leases.append(Held(worker, lease, entries, known_scores(pack)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(["start", "complete", "complete", "fail", "give back", "give back as suspects"]))
    def work(self, data: st.DataObject, how: str) -> None:
        """The worker goes on with one of its leases: exactly its entries move."""
        held = data.draw(st.sampled_from(self.leases))
        if how == "start":
            if all(entry in self.entries and entry.state is State.LEASED and entry.worker == held.worker for entry in held.entries):
                self.queue.start(held.lease)
                for entry in held.entries:
                    entry.started = True
            return
        self.leases.remove(held)
        if how == "complete":
            self.complete(held)
        elif how == "fail":
            self.queue.fail(held.lease, Failure.SCORING)
            self.move(held, State.FAILED)
        else:
            self.queue.give_back(held.lease, suspect=how != "give back")
            for entry in held.entries if how != "give back" else []:
                entry.attempts += FAULT * (entry.state is State.LEASED)
            self.move(held, State.WAITING)

    @rule(worker=workers, blame=st.sampled_from([FAULT, KILL]))
    def crash(self, worker: int, blame: int) -> None:
        """A worker dies and is reaped: its entries wait again or, after too many crashes, fail. Its leases are kept for late answers."""
        mine = [entry for entry in self.entries if entry.state is State.LEASED and entry.worker == worker]
        assert self.queue.reap(worker, blame=blame) == len(mine)
        for entry in mine:
            entry.attempts += blame * entry.started
            entry.started = False
            entry.state = State.FAILED if entry.attempts >= ENOUGH else State.WAITING
        self.stale += [held for held in self.leases if held.worker == worker]
        self.leases = [held for held in self.leases if held.worker != worker]

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def late_answer(self, data: st.DataObject) -> None:
        """A worker believed dead answers: what waits, has ended or is another entry by now is left alone."""
        held = data.draw(st.sampled_from(self.stale))
        self.stale.remove(held)
        self.complete(held)

    @precondition(lambda self: any(entry.awaited for entry in self.entries))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """The caller goes away."""
        entry = data.draw(st.sampled_from([entry for entry in self.entries if entry.awaited]))
        owner = self.owners[entry.owner]
        if owner is not None:
            owner.cancel(entry.row)
            entry.awaited, entry.cancelled = False, True

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        """Deadlines come nearer."""
        self.now += seconds

    @rule()
    def drop_unwanted(self) -> None:
        """What the supervisor does while there is no worker."""
        unwanted = [entry for entry in self.entries if self.unwanted(entry)]
        assert self.queue.drop_unwanted(self.now) == len(unwanted)
        self.drop()

    @rule(index=owners)
    def collect(self, index: int) -> None:
        """Everyone who waits for an entry that ended is told once, and rightly; the rows are free again."""
        owner = self.owners[index]
        if owner is None:
            return
        ended = [entry for entry in self.entries if entry.owner == index and entry.state > State.LEASED]
        found = owner.collect()
        assert {id(entry) for entry, _ in found} == {id(entry) for entry in ended if entry.awaited}
        assert len(found) == len({id(entry) for entry, _ in found})
        for entry, how in found:
            assert how.state is entry.state
            assert how.row == entry.row
            assert (how.scores is None) == (entry.state is not State.DONE)
            if how.scores is not None:
                np.testing.assert_array_equal(how.scores, expected(entry.request))
        self.entries = [entry for entry in self.entries if entry not in ended]

    @rule(index=owners)
    def owner_dies(self, index: int) -> None:
        """The kernel takes its lock back; everything else stays as it lies."""
        owner = self.owners[index]
        if owner is not None:
            owner.close()
            self.owners[index] = None
            for entry in self.entries:
                entry.awaited &= entry.owner != index

    @rule(index=owners)
    def owner_is_buried(self, index: int) -> None:
        """Its parent sees that it is dead: what it left is cancelled. While it lives nothing is."""
        left = [entry for entry in self.entries if entry.owner == index and entry.state <= State.LEASED]
        alive = self.owners[index] is not None
        assert bury(self.directory, index) == (0 if alive else len(left))
        for entry in left if not alive else []:
            entry.cancelled = True

    @rule(index=owners)
    def owner_comes(self, index: int) -> None:
        """A successor takes over: what ended is free, the rest is to be dropped. While the owner lives nobody can take over."""
        if self.owners[index] is not None:
            with pytest.raises(StartError, match="has an owner already"):
                Owner(self.directory, index)
            return
        self.owners[index] = Owner(self.directory, index)
        self.entries = [entry for entry in self.entries if entry.owner != index or entry.state <= State.LEASED]
        for entry in self.entries:
            entry.cancelled |= entry.owner == index

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.finish_everything()
            for owner in filter(None, self.owners):
                owner.close()
            self.queue.close()
            shutil.rmtree(self.directory.parent)

    def finish_everything(self) -> None:
        """When all have come back and everything is answered, nothing is left in use anywhere."""
        for index, owner in enumerate(self.owners):
            if owner is None:
                self.owner_comes(index)
        for worker in range(WORKERS):
            self.crash(worker, FAULT)
        while any(entry.state is State.WAITING for entry in self.entries):
            self.lease(0, suspects=True)
            for held in self.leases:
                self.complete(held)
            self.leases = []
        for index in range(OWNERS):
            self.collect(index)
        assert not self.entries
        self.shared_memory_says_what_the_list_says()


QueueAgainstList.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
TestQueueAgainstList = QueueAgainstList.TestCase

"""The HTTP process's end of a queue, on its event loop: reserve, score, cancel. One client per HTTP process and model.

Nothing here blocks: the claim lock is never taken, and a wait for room in the arena is an `await`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from batching.admission import Admission, Reservation
from batching.arena import Arena
from batching.bell import Bell, Ringer
from batching.board import Board
from batching.cut import Cut, cut
from batching.errors import Expired, Unavailable
from batching.job import Job, Scored
from batching.owner import Ended, Owner, Stamp
from batching.planner import MOST_PRIORITY, PRIORITY_WEIGHT
from batching.queue_files import owner_bell, worker_bell
from batching.states import LEASED, WAITING
from batching.types import Sequences
from batching.worker_view import WorkerState, WorkerView

SLOW_POLL_S = 0.05
"""How often ends and deadlines are looked at when no bell rings."""
BEAT_S = 0.25
ENTRIES_PER_BUDGET = 4
"""A batch is made of several entries, so that requests can share it and workers can share a request."""
MIN_ENTRY_TOKENS = 256
"""Smaller entries would cost more in bookkeeping than they gain; also the size before any worker is ready to say its budget."""
RING_AFTER = 8
"""Entries put in one turn of the event loop after which a worker is rung at once."""


class Place:
    """A place in the line of those who wait for room; `room` is set when it is worth another look."""

    def __init__(self, room: asyncio.Future[None]) -> None:
        self.room = room


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """How a queue stands. Tokens count real tokens; `drain_tokens_per_s` is the measured rate while busy, over all workers."""

    limit_tokens: int
    reserved_tokens: int
    waiting_tokens: int
    waiting_entries: int
    leased_entries: int
    oldest_wait_s: float
    drain_tokens_per_s: float
    workers: list[WorkerView]


class QueueClient:
    """Made by `open`. `close` gives the arena up; what is still under way then fails with Unavailable."""

    def __init__(self, directory: Path, index: int) -> None:
        self._owner: Owner[Job] = Owner(directory, index)
        self._loop = asyncio.get_running_loop()
        self._board = Board(directory / "board")
        self._arenas = [Arena(directory / f"arena.{other}") for other in range(self._board.shape.owners)]
        self._admission = Admission(directory, self._board, self._arenas, index)
        self._worker_bells = [str(worker_bell(directory, slot)) for slot in range(self._board.shape.workers)]
        self._ringer = Ringer()
        self._bell = Bell(owner_bell(directory, index))
        self._jobs: set[Job] = set()
        self._line: deque[Place] = deque()
        self._requests = index << 48 | os.getpid() << 24
        self._unrung = 0
        self._polling: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._bell.fileno(), self._on_bell)
        self._beat()
        self._watch()

    def __repr__(self) -> str:
        return f"QueueClient({len(self._jobs)} requests, {self._owner!r})"

    @classmethod
    async def open(cls, directory: Path, index: int) -> QueueClient:
        """Take arena `index` over, from its maker or from an owner that died. Raises StartError when its owner lives."""
        return cls(directory, index)

    def reserve(self, tokens: int, deadline: float | None = None) -> Reservation:
        """Admit a request of about `tokens` tokens, as a context manager; `adjust` it when they are counted.

        Raises TooLarge when the queue could never hold it, Overloaded when it can't now, Expired when it can't be done by `deadline`
        (monotonic seconds) at the measured rate, Unavailable when no worker can answer.
        """
        return self._admission.reserve(tokens, deadline)

    async def score(self, sequences: Sequences, *, deadline: float, priority: int = 0, request_id: bytes = b"") -> Scored:
        """The raw scores of a request's sequences. `deadline` in monotonic seconds.

        Raises Expired, WorkerLost, ScoringFailed, Unavailable or TooLarge. When the task is cancelled, entries not yet leased are dropped.
        """
        job = Job(sequences.scores, deadline, self._loop.create_future())
        if not sequences.scores:
            return job.scored
        self._jobs.add(job)
        try:
            await self._put(job, sequences, priority, request_id)
            await job.future
        finally:
            self._jobs.discard(job)
            for row in job.places:
                self._owner.cancel(row)
        return job.scored

    async def _put(self, job: Job, sequences: Sequences, priority: int, trace: bytes) -> None:
        """Put every entry of a request, waiting for room where there is none."""
        shape, most = self._board.shape, max(MIN_ENTRY_TOKENS, self._budget // ENTRIES_PER_BUDGET)
        parts = cut(sequences, most, max_pairs=shape.max_pairs, padded=self._board.padded)
        self._requests += 1
        request, tag = self._requests, self._board.virtual_time
        job.unput = len(parts)
        for part in parts:
            stamp = Stamp(job.deadline, tag, priority, request, trace)
            row = None if self._line else self._owner.put(part, stamp, job)
            if row is None:
                row = await self._put_in_line(part, stamp, job)
            job.places[row] = part.places
            job.unput -= 1
            tag += part.cost * (1.0 + PRIORITY_WEIGHT * min(priority, MOST_PRIORITY))
            if part.sequences.tiles is not None:
                await asyncio.sleep(0)  # megabytes were copied; others have their turn now
        self._ring_soon(len(parts))
        self._watch()

    async def _put_in_line(self, part: Cut, stamp: Stamp, job: Job) -> int:
        """Put an entry when those who came before have found room and it does too; its row. Small ones don't pass a large one for ever."""
        place = Place(self._loop.create_future())
        self._line.append(place)
        try:
            while self._line[0] is not place or (row := self._owner.put(part, stamp, job)) is None:
                await self._wait_for_room(place, job)
        finally:
            self._line.remove(place)
            self._let_in()
        return row

    async def _wait_for_room(self, place: Place, job: Job) -> None:
        """Until rows were freed, or the job is over."""
        self._ring(len(self._worker_bells))
        self._watch()
        await asyncio.wait((place.room, job.future), return_when=asyncio.FIRST_COMPLETED)
        if job.future.done():
            job.future.result()
        if place.room.done():
            place.room = self._loop.create_future()

    def _ring_soon(self, entries: int) -> None:
        """Ring once for what is put in this turn of the event loop, so that a worker wakes to a batch and not to its first entry.

        When many are put in one turn a worker need not wait for the last of them.
        """
        if not self._unrung:
            self._turn_ends = self._loop.call_soon(self._ring_now)
        self._unrung += entries
        if self._unrung >= RING_AFTER:
            self._turn_ends.cancel()
            self._ring_now()

    def _ring_now(self) -> None:
        entries, self._unrung = self._unrung, 0
        self._ring(entries)

    def _ring(self, entries: int) -> None:
        """Wake as many idle workers as there are entries."""
        for slot in self._board.idle_workers()[:entries]:
            self._ringer.ring(self._worker_bells[slot])

    def _beat(self) -> None:
        """Say that this event loop runs, and look at what changes slowly."""
        self._owner.beat()
        self._hand_on(self._owner.collect_spoilt)
        self._budget = self._board.budget_tokens()
        self._heart = self._loop.call_later(BEAT_S, self._beat)

    def _watch(self) -> None:
        """Poll slowly for as long as anything is in use, since a bell may be lost."""
        if self._polling is None and (self._jobs or self._owner.in_use):
            self._polling = self._loop.call_later(SLOW_POLL_S, self._poll)

    def _poll(self) -> None:
        self._polling = None
        self._ring(self._owner.in_use)
        self._hand_on(self._owner.collect)
        self._fail_late()
        self._watch()

    def _on_bell(self) -> None:
        self._bell.clear()
        self._hand_on(self._owner.collect)

    def _hand_on(self, collect: Callable[[], list[tuple[Job, Ended]]]) -> None:
        """Tell jobs how their entries ended, and let those in that wait for room."""
        before = self._owner.in_use
        for job, how in collect():
            job.take(how)
        if self._owner.in_use < before:
            self._let_in()

    def _let_in(self) -> None:
        """Let the first who waits for room look again; once it has found some, or given up, it lets the next one look."""
        if self._line and not self._line[0].room.done():
            self._line[0].room.set_result(None)

    def _fail_late(self) -> None:
        """Fail what is past its deadline; everything, when every worker has been given up."""
        now = time.monotonic()
        for job in [job for job in self._jobs if job.deadline <= now]:
            job.fail(Expired("the deadline passed before the scores were there"))
        if self._jobs and (self._board.slots["state"] == int(WorkerState.FAILED)).all():
            for job in self._jobs:
                job.fail(Unavailable("no worker is left to score this request", retry_after_s=30.0))

    def view(self) -> QueueView:
        """How the queue stands, over all arenas; needs no lock, so that it may be a moment out of date."""
        waiting = [(arena, arena.in_state(WAITING)) for arena in self._arenas]
        oldest = [float(arena.rows["put_at"][rows].min()) for arena, rows in waiting if rows.size]
        return QueueView(
            limit_tokens=self._board.shape.limit_tokens,
            reserved_tokens=sum(arena.reserved_tokens for arena in self._arenas),
            waiting_tokens=sum(int(arena.rows["tokens"][rows].sum()) for arena, rows in waiting),
            waiting_entries=sum(len(rows) for _, rows in waiting),
            leased_entries=sum(len(arena.in_state(LEASED)) for arena in self._arenas),
            oldest_wait_s=max(0.0, time.monotonic() - min(oldest)) if oldest else 0.0,
            drain_tokens_per_s=self._admission.drain_tokens_per_s(),
            workers=self._board.workers(),
        )

    async def close(self) -> None:
        """Stop listening and give the arena up."""
        for job in self._jobs:
            job.fail(Unavailable("the service is stopping"))
        while self._jobs:  # each withdraws its entries as it ends
            await asyncio.sleep(0)
        self._heart.cancel()
        if self._polling:
            self._polling.cancel()
        self._loop.remove_reader(self._bell.fileno())
        self._bell.close()
        self._ringer.close()
        self._admission.close()
        for arena in self._arenas:
            arena.close()
        self._board.close()
        self._owner.close()

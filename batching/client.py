"""The owner's side of a queue, on an event loop: reserve, put, collect, cancel. One client per HTTP process and model.

Nothing here blocks: the claim lock is never taken, and a wait for room in the arena is an `await`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from batching.admission import Admission, Reservation
from batching.arena import KIND_TOKENS, OWNER_FIELDS, ROW_BYTES, Arena, payload_bytes
from batching.bell import Bell, Ringer
from batching.board import Board, WorkerState, WorkerView
from batching.cut import Cut, cut
from batching.errors import Expired, RerankdError, ScoringFailed, StartError, TooLarge, Unavailable, WorkerLost
from batching.files import FileLock, barrier
from batching.heap import Heap
from batching.queue import Failure, owner_bell, worker_bell
from batching.states import DONE, ENDS, FREE, LEASED, WAITING, Actor, State, move
from batching.types import Float32s, Sequences

SLOW_POLL_S = 0.05
"""How often ends are looked for when no bell rings."""
BEAT_S = 0.25
ENTRIES_PER_BUDGET = 4
"""A batch is made of several entries, so that requests can share it and workers can share a request."""
MIN_ENTRY_TOKENS = 256
"""Smaller entries would cost more in bookkeeping than they gain; also the size before any worker is ready to say its budget."""
LOW_MARK = 64
"""Rows that are scanned even when the arena is empty; above it, emptiness resets the high mark."""
PRIORITY_WEIGHT = 1.0
"""How much more each step of priority makes later entries cost in virtual time."""


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


@dataclass(frozen=True, slots=True)
class Scored:
    """The answer to a request: `raw` float32 [n] in the order asked; times in seconds, `forward_s` of the slowest of its batches."""

    raw: Float32s
    queue_s: float
    forward_s: float
    batches: int
    batch_tokens: int


@dataclass(slots=True)
class _Job:
    """A request under way."""

    raw: Float32s
    future: asyncio.Future[None]
    open_entries: int = 0
    queue_s: float = 0.0
    forward_s: float = 0.0
    batches: int = 0
    batch_tokens: int = 0
    rows: set[int] = field(default_factory=set)

    def fail(self, error: RerankdError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Put:
    """What the owner remembers of a row in use; `job` is None when nobody waits for it any more."""

    offset: int
    size: int
    job: _Job | None
    part: Cut | None


class QueueClient:
    """Owner of arena `index`. Made by `open`; `close` gives the arena up with everything in it cancelled."""

    def __init__(self, directory: Path, index: int) -> None:
        self._directory, self._index = directory, index
        self._lock = FileLock(directory / f"owner.{index}")
        if not self._lock.try_acquire():
            raise StartError(f"arena {index} in {directory} has an owner already")
        self.board = Board(directory / "board")
        self._arenas = [Arena(directory / f"arena.{other}") for other in range(self.board.shape.owners)]
        self._arena = self._arenas[index]
        self._ringer = Ringer()
        self._worker_bells = [str(worker_bell(directory, slot)) for slot in range(self.board.shape.workers)]
        self._bell = Bell(owner_bell(directory, index))
        self._loop = asyncio.get_running_loop()
        self._heap = Heap(self._arena.shape.heap_bytes)
        self._puts: dict[int, _Put] = {}
        self._free: list[int] = []
        """A stack with the lowest rows on top, so that scans stay short."""
        self._room: deque[asyncio.Future[None]] = deque()
        self._generations = self._arena.rows["generation"].tolist()
        self._requests = self._index << 48 | os.getpid() << 24
        self._poll: asyncio.TimerHandle | None = None
        self._take_over()
        self.admission = Admission(directory, self.board, self._arenas, index)
        self._loop.add_reader(self._bell.fileno(), self._on_bell)
        self._beat()

    def __repr__(self) -> str:
        return f"QueueClient({len(self._puts)} entries in use, {len(self._free)} rows free, {self._heap!r})"

    @classmethod
    async def open(cls, directory: Path, index: int) -> QueueClient:
        """Take arena `index` over, from its maker or from an owner that died. Raises StartError when its owner lives."""
        return cls(directory, index)

    def _take_over(self) -> None:
        """Free what came to an end, ask for the rest to be dropped, keep the payloads of what a worker may still be reading."""
        arena = self._arena
        arena.header["owner_pid"][0] = os.getpid()
        arena.reserved_tokens = 0
        in_use = (arena.states == WAITING) | (arena.states == LEASED)
        for row in np.flatnonzero(in_use).tolist():
            fields = arena.rows[row]
            offset, size = int(fields["offset"]), payload_bytes(int(fields["sequences"]), int(fields["scores"]), int(fields["tokens"]))
            self._heap.take_at(offset, size)
            self._puts[row] = _Put(offset, size, None, None)
            arena.rows["cancel"][row] = 1
        arena.states[~in_use] = FREE
        self._free = np.flatnonzero(~in_use)[::-1].tolist()
        self._set_high(max(self._puts, default=-1) + 1)
        if self._puts:
            self._watch()

    def reserve(self, tokens: int) -> Reservation:
        """Admit a request of about `tokens` tokens, as a context manager; `adjust` it when they are counted.

        Raises TooLarge when the queue could never hold it, Overloaded when it can't now, Unavailable when no worker can answer.
        """
        return self.admission.reserve(tokens)

    async def score(self, sequences: Sequences, *, deadline: float, priority: int = 0, request_id: bytes = b"") -> Scored:
        """The raw scores of a request's sequences. `deadline` in monotonic seconds.

        Raises Expired, WorkerLost, ScoringFailed, Unavailable or TooLarge. When the task is cancelled, entries not yet leased are dropped.
        """
        if not sequences.scores:
            return Scored(np.empty(0, np.float32), 0.0, 0.0, 0, 0)
        job = _Job(np.empty(sequences.scores, np.float32), self._loop.create_future())
        alarm = self._loop.call_at(
            self._loop.time() + deadline - time.monotonic(), job.fail, Expired("the deadline passed before the scores were there")
        )
        try:
            await self._put_all(job, sequences, deadline, priority, request_id)
            await job.future
        finally:
            alarm.cancel()
            self._abandon(job)
        return Scored(job.raw, job.queue_s, job.forward_s, job.batches, job.batch_tokens)

    async def _put_all(self, job: _Job, sequences: Sequences, deadline: float, priority: int, trace: bytes) -> None:
        """Put every entry of a request, ringing as many idle workers as there are entries."""
        parts = cut(sequences, max(MIN_ENTRY_TOKENS, self._budget // ENTRIES_PER_BUDGET), padded=self.board.shape.padded)
        self._requests += 1
        request = self._requests
        tag, weight = self.board.virtual_time, 1.0 + PRIORITY_WEIGHT * priority
        job.open_entries = len(parts)
        for part in parts:
            size = payload_bytes(len(part.sequences.lengths), part.sequences.scores, part.sequences.tokens)
            if size > self._arena.shape.heap_bytes:
                raise TooLarge(f"a single pair of {part.sequences.tokens} tokens is larger than the queue; raise RERANKER_QUEUE_TOKENS")
            while not self._free or (offset := self._heap.take(size)) is None:
                self._ring()
                await self._wait_for_room(job)
            self._put(self._free.pop(), offset, size, job, part, (deadline, tag, priority, request, trace))
            tag += part.cost * weight
        self._ring(len(parts))
        self._watch()

    def _put(self, row: int, offset: int, size: int, job: _Job, part: Cut, rest: tuple[float, float, int, int, bytes]) -> None:
        """Payload first, state last."""
        arena, sequences = self._arena, part.sequences
        deadline, tag, priority, request, trace = rest
        payload = arena.payload(offset, len(sequences.lengths), sequences.scores, sequences.tokens)
        payload.lengths[:], payload.splits[:], payload.ids[:] = sequences.lengths, sequences.splits, sequences.ids
        self._generations[row] = generation = (self._generations[row] + 1) & 0xFFFFFFFF
        OWNER_FIELDS.pack_into(
            arena.map, arena.shape.rows_at + row * ROW_BYTES,
            generation, 0, KIND_TOKENS, sequences.shared, priority, request, deadline, time.monotonic(), tag, offset,
            sequences.tokens, len(sequences.lengths), sequences.scores, part.cost, trace, 0, 0, 0, 0,
        )  # fmt: skip
        self._puts[row] = _Put(offset, size, job, part)
        job.rows.add(row)
        if row >= self._high:
            self._set_high(row + 1)
        barrier()
        arena.states[row] = WAITING

    def _set_high(self, high: int) -> None:
        self._high = high
        self._arena.header["high"][0] = high

    def _ring(self, entries: int = 1) -> None:
        for slot in self.board.idle_workers()[:entries]:
            self._ringer.ring(self._worker_bells[slot])

    async def _wait_for_room(self, job: _Job) -> None:
        """Until rows were freed, or the job is over."""
        self._watch()
        room: asyncio.Future[None] = self._loop.create_future()
        self._room.append(room)
        await asyncio.wait((room, job.future), return_when=asyncio.FIRST_COMPLETED)
        if job.future.done():
            room.cancel()
            job.future.result()

    def _abandon(self, job: _Job) -> None:
        """Nobody waits for what is left of this job: ask for its entries to be dropped."""
        for row in job.rows:
            put = self._puts[row]
            self._arena.rows["cancel"][row] = 1
            self._puts[row] = _Put(put.offset, put.size, None, None)
        job.rows.clear()

    def _beat(self) -> None:
        """Say that this event loop runs, and look at what changes slowly."""
        self._arena.header["owner_beat"][0] = time.monotonic()
        self._budget = self.board.budget_tokens()
        self._heart = self._loop.call_later(BEAT_S, self._beat)

    def _watch(self) -> None:
        """Poll slowly for as long as anything is in use, since a bell may be lost."""
        if self._poll is None and self._puts:
            self._poll = self._loop.call_later(SLOW_POLL_S, self._on_poll)

    def _on_poll(self) -> None:
        self._poll = None
        self._ring()
        self._collect()
        self._fail_hopeless()
        self._watch()

    def _on_bell(self) -> None:
        self._bell.clear()
        self._collect()

    def _fail_hopeless(self) -> None:
        """When every worker has been given up, no answer will come."""
        if (self.board.slots["state"] == int(WorkerState.FAILED)).all():
            for job in {id(put.job): put.job for put in self._puts.values() if put.job}.values():
                job.fail(Unavailable("no worker is left to score this request", retry_after_s=30.0))

    def _collect(self) -> None:
        """Take every entry that came to an end: hand its scores on, free its row and payload."""
        states = self._arena.states
        ended = (states[: self._high] >= DONE).nonzero()[0]
        for state in ENDS if ended.size else ():
            rows = ended[states[ended] == int(state)]
            for row in rows.tolist():
                self._take(row, state)
            move(states, rows, state, State.FREE, Actor.OWNER)
            self._free.extend(rows[::-1].tolist())
        if not self._puts and self._high > LOW_MARK:
            self._free.sort(reverse=True)
            self._set_high(0)
        while ended.size and self._room:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)

    def _take(self, row: int, state: State) -> None:
        put = self._puts.pop(row)
        if put.job and put.part:
            self._hand_on(row, state, put.job, put.part)
        self._heap.give_back(put.offset, put.size)

    def _hand_on(self, row: int, state: State, job: _Job, part: Cut) -> None:
        job.rows.discard(row)
        fields = self._arena.row(row)
        if state == State.DONE:
            payload = self._arena.payload(fields.offset, fields.sequences, fields.scores, fields.tokens)
            job.raw[part.places] = payload.scores
            job.queue_s = max(job.queue_s, fields.leased_at - fields.put_at)
            job.forward_s = max(job.forward_s, fields.forward_s)
            job.batch_tokens = max(job.batch_tokens, fields.batch_tokens)
            job.batches += 1
            job.open_entries -= 1
            if not job.open_entries and not job.future.done():
                job.future.set_result(None)
        elif state == State.CANCELLED:
            job.fail(Expired("the deadline passed before the work was begun"))
        else:
            job.fail(_failure(fields.failure))

    def view(self) -> QueueView:
        """How the queue stands, over all arenas; needs no lock, so that it may be a moment out of date."""
        waiting = [(arena, arena.in_state(WAITING)) for arena in self._arenas]
        oldest = [float(arena.rows["put_at"][rows].min()) for arena, rows in waiting if rows.size]
        return QueueView(
            limit_tokens=self.board.shape.limit_tokens,
            reserved_tokens=sum(arena.reserved_tokens for arena in self._arenas),
            waiting_tokens=sum(int(arena.rows["tokens"][rows].sum()) for arena, rows in waiting),
            waiting_entries=sum(len(rows) for _, rows in waiting),
            leased_entries=sum(len(arena.in_state(LEASED)) for arena in self._arenas),
            oldest_wait_s=max(0.0, time.monotonic() - min(oldest)) if oldest else 0.0,
            drain_tokens_per_s=self.admission.drain_tokens_per_s(),
            workers=self.board.workers(),
        )

    async def close(self) -> None:
        """Stop listening and give the arena up; requests still under way fail with Unavailable."""
        for put in self._puts.values():
            if put.job:
                put.job.fail(Unavailable("the service is stopping"))
        self._heart.cancel()
        if self._poll:
            self._poll.cancel()
        self._loop.remove_reader(self._bell.fileno())
        self._bell.close()
        self._ringer.close()
        self.admission.close()
        for arena in self._arenas:
            arena.close()
        self.board.close()
        self._lock.close()


def _failure(code: int) -> RerankdError:
    if code == Failure.WORKER_LOST:
        return WorkerLost("scoring this request's documents crashed the worker twice")
    if code == Failure.OUT_OF_MEMORY:
        return ScoringFailed("the device's memory does not hold this request's longest document")
    return ScoringFailed("the worker could not score this request's documents")

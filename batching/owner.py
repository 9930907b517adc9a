"""An arena from its owner's side: take it over, put entries, collect those that came to an end. Synchronous, and never blocks.

`batching/client.py` puts an event loop around it.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from batching.arena import Arena
from batching.arena_layout import KIND_TILES, KIND_TOKENS, OWNER_FIELDS, ROW_BYTES, payload_bytes
from batching.cut import Cut
from batching.errors import StartError, TooLarge
from batching.files import FileLock, barrier
from batching.heap import Heap
from batching.states import CANCELLED, DONE, ENDS, FREE, WAITING, Actor, IllegalMove, State, move
from batching.types import Float32s

LOW_MARK = 64
"""Rows that are scanned even when the arena is empty; above it, emptiness resets the high mark."""

Holder = TypeVar("Holder")


class Stamp(NamedTuple):
    """What an entry carries of its request: `deadline` in monotonic seconds, `start_tag` in virtual time, `request` unique in the queue."""

    deadline: float
    start_tag: float
    priority: int
    request: int
    trace: bytes


class Stay(NamedTuple):
    """Where an entry was: times in monotonic seconds, `forward_s` in seconds, the batch's tokens, the slot of its worker."""

    put_at: float
    leased_at: float
    ended_at: float
    forward_s: float
    batch_tokens: int
    worker: int


class Ended(NamedTuple):
    """An entry that came to an end; `scores` float32 [n], copied, where it is DONE, and `stay` then whole."""

    row: int
    state: State
    scores: Float32s | None
    stay: Stay
    failure: int

    @property
    def queue_s(self) -> float:
        """Seconds it waited."""
        return self.stay.leased_at - self.stay.put_at

    @property
    def forward_s(self) -> float:
        """Seconds of its batch's forward pass."""
        return self.stay.forward_s

    @property
    def batch_tokens(self) -> int:
        """Real tokens of its batch."""
        return self.stay.batch_tokens


@dataclass(slots=True)
class _Used(Generic[Holder]):
    """A row in use; `holder` is None when nobody waits for it any more."""

    offset: int
    size: int
    scores_at: int
    scores: int
    holder: Holder | None


class Owner(Generic[Holder]):
    """The only writer of arena `index`'s header, free rows and heap. Raises StartError when the arena has a living owner already."""

    def __init__(self, directory: Path, index: int) -> None:
        self._lock = FileLock(directory / f"owner.{index}")
        if not self._lock.try_acquire():
            raise StartError(f"arena {index} in {directory} has an owner already")
        self.arena = Arena(directory / f"arena.{index}")
        self._heap = Heap(self.arena.shape.heap_bytes)
        self._used: dict[int, _Used[Holder]] = {}
        self._generations: list[int] = self.arena.rows["generation"].tolist()
        self._take_over()

    def __repr__(self) -> str:
        return f"Owner({len(self._used)} entries in use, {len(self._free)} rows free, {self._heap!r})"

    def _take_over(self) -> None:
        """Free what came to an end, ask for the rest to be dropped, keep the payloads of what a worker may still be reading."""
        arena = self.arena
        arena.header["owner_pid"][0] = os.getpid()
        arena.reserved_tokens = arena.reserved_requests = 0
        in_use = arena.in_use()
        for row in np.flatnonzero(in_use).tolist():
            fields = arena.row(row)
            size = payload_bytes(fields.sequences, fields.scores, fields.tokens, fields.blocks)
            try:
                self._heap.take_at(fields.offset, size)
            except ValueError:  # the row was spoilt, and none of the heap is its own
                size = 0
            self._used[row] = _Used(fields.offset, size, 0, 0, None)
            arena.rows["cancel"][row] = 1
        arena.states[~in_use] = FREE
        self._free: list[int] = np.flatnonzero(~in_use)[::-1].tolist()  # a stack, the lowest rows on top, so that scans stay short
        self._set_high(max(self._used, default=-1) + 1)

    def beat(self) -> None:
        """Say that this process runs, and how far rows are in use."""
        self.arena.header["owner_beat"][0] = time.monotonic()
        self._set_high(self._high)

    @property
    def in_use(self) -> int:
        """Entries that are not free yet."""
        return len(self._used)

    def put(self, part: Cut, stamp: Stamp, holder: Holder) -> int | None:
        """Make `part` a waiting entry: payload first, state last. Its row, or None while there is no room.

        Raises TooLarge when there never will be.
        """
        sequences = part.sequences
        count, tokens = len(sequences.lengths), len(sequences.ids)
        tiles = sequences.tiles
        blocks = 0 if tiles is None else tiles.blocks
        size = payload_bytes(count, sequences.scores, tokens, blocks)
        if size > self._heap.size:
            settings = "RERANKER_QUEUE_TOKENS" if tiles is None else "RERANKER_QUEUE_TOKENS or RERANKER_IMAGE_QUEUE_BYTES"
            raise TooLarge(f"an entry of {tokens:,} tokens is larger than the queue; raise {settings}")
        if not self._free or (offset := self._heap.take(size)) is None:
            return None
        row, arena, words, at = self._free.pop(), self.arena, self.arena.words, offset // 4
        scores_at = at + 2 * count
        ids_at = scores_at + sequences.scores
        words[at : at + count] = sequences.lengths
        words[at + count : scores_at] = sequences.splits
        words[ids_at : ids_at + tokens] = sequences.ids
        if tiles is not None:
            tiles.write(words[ids_at + tokens :])
        self._generations[row] = generation = (self._generations[row] + 1) & 0xFFFFFFFF
        OWNER_FIELDS.pack_into(
            arena.map, arena.shape.rows_at + row * ROW_BYTES,
            generation, 0, KIND_TOKENS if tiles is None else KIND_TILES, sequences.shared, blocks, stamp.priority, stamp.request,
            stamp.deadline, time.monotonic(), stamp.start_tag, offset, tokens, count, sequences.scores, part.cost, stamp.trace, 0, 0, 0, 0,
        )  # fmt: skip
        self._used[row] = _Used(offset, size, scores_at, sequences.scores, holder)
        if row >= self._high:
            self._set_high(row + 1)
        barrier()
        arena.states[row] = WAITING
        return row

    def cancel(self, row: int) -> None:
        """Nobody waits for this entry any more; whoever plans next drops it, unless it is leased."""
        self._used[row].holder = None
        self.arena.rows["cancel"][row] = 1

    def collect(self) -> list[tuple[Holder, Ended]]:
        """Take every entry that came to an end: free its row and payload, and say how it ended to those who wait."""
        states = self.arena.states
        ended = (states[: self._high] >= DONE).nonzero()[0]
        if not ended.size:
            return []
        found: list[tuple[Holder, Ended]] = []
        kinds = states[ended]
        for state in ENDS:
            rows = ended[kinds == int(state)]
            if not rows.size:
                continue
            freed = [row for row in rows.tolist() if self._release(row, state, found)]
            with contextlib.suppress(IllegalMove):  # a peer meddled with them since: the next look finds them
                move(states, rows, state, State.FREE, Actor.OWNER)
            self._free.extend(reversed(freed))
        if not self._used and self._high > LOW_MARK:
            self._free.sort(reverse=True)
            self._set_high(0)
        return found

    def collect_spoilt(self) -> list[tuple[Holder, Ended]]:
        """Take every entry whose row somebody else has written to, so that it could never come to an end. They count as failed."""
        rows = np.fromiter(self._used, np.intp, len(self._used))
        states, written = self.arena.states[rows], np.array([self._generations[row] for row in rows], np.uint32)
        spoilt = rows[(states == FREE) | (states > CANCELLED) | (self.arena.rows["generation"][rows] != written)]
        found: list[tuple[Holder, Ended]] = []
        for row in spoilt.tolist():
            self._release(row, State.FAILED, found)
            self.arena.states[row] = FREE
            self._free.append(row)
        return found

    def _release(self, row: int, state: State, found: list[tuple[Holder, Ended]]) -> bool:
        """Forget a row that came to an end in `state`, and add what its holder is told to `found`; False for a row that was not in use."""
        used = self._used.pop(row, None)
        if used is None:
            return False
        if used.holder is not None:
            found.append((used.holder, self._ended(row, state, used)))
        if used.size:
            self._heap.give_back(used.offset, used.size)
        return True

    def _ended(self, row: int, state: State, used: _Used[Holder]) -> Ended:
        fields = self.arena.row(row)
        scores = self.arena.floats[used.scores_at : used.scores_at + used.scores].copy() if state is State.DONE else None
        stay = Stay(fields.put_at, fields.leased_at, fields.ended_at, fields.forward_s, fields.batch_tokens, fields.worker)
        return Ended(row, state, scores, stay, fields.failure)

    def _set_high(self, high: int) -> None:
        self._high = high
        self.arena.header["high"][0] = high

    def close(self) -> None:
        """Give the arena up."""
        self.arena.close()
        self._lock.close()

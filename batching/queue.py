"""The queue of one model, as claimers and workers use it: lease, complete, fail, give back, reap.

Putting and collecting are the owner's side: `batching/client.py`. Which files a queue is made of: `batching/queue_files.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batching.arena import Arena
from batching.bell import Ringer
from batching.board import Board
from batching.files import FileLock, barrier
from batching.lease import Lease, Share
from batching.planner import Limits, Rows, plan
from batching.queue_files import owner_bell, worker_bell
from batching.states import LEASED, WAITING, Actor, Failure, IllegalMove, State, move
from batching.types import Float32s, Pack
from batching.waiting import Found, find_waiting

FAULT, KILL, ENOUGH = 2, 1, 4
"""What speaks against an entry, as its `attempts` count: a worker that crashed or hung with it on the device, or one that somebody else
seems to have killed; from ENOUGH on it fails. So two crashes do, and an innocent entry outlives more kills than will ever hit it.
"""
CLAIM_PATIENCE_S = 0.1
"""A plan takes less than a millisecond; whoever holds the claim for longer stands still, and must not make others stand still."""


class Queue:
    """A claimer's view: all arenas, the board and the claim lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.board = Board(directory / "board")
        self.arenas = [Arena(directory / f"arena.{index}") for index in range(self.board.shape.owners)]
        self._claim = FileLock(directory / "claim")
        self._ringer = Ringer()
        self._owner_bells = [str(owner_bell(directory, index)) for index in range(len(self.arenas))]
        self._worker_bells = [str(worker_bell(directory, slot)) for slot in range(self.board.shape.workers)]

    def __repr__(self) -> str:
        counts = {state.name.lower(): sum(int((arena.states == int(state)).sum()) for arena in self.arenas) for state in State if state}
        return f"Queue({counts})"

    def waiting(self) -> bool:
        """Whether any entry waits; needs no lock."""
        return any(len(arena.in_state(WAITING)) for arena in self.arenas)

    def lease(self, worker: int, limits: Limits, now: float) -> Lease | None:
        """Plan a batch and take its entries for `worker`; drops on the way what nobody waits for.

        None when nothing is to be had, or when the claim was not to be had for CLAIM_PATIENCE_S.
        """
        if not self._claim.acquire(CLAIM_PATIENCE_S):
            return None
        try:
            found = find_waiting(self.arenas)
            if found is None:
                return None
            chosen = plan(found.waiting, limits, now, self.board.virtual_time)
            self._drop(found, chosen.drop)
            shares = self._take(found, chosen.take, worker, now)
            self.board.virtual_time = chosen.virtual_time
        finally:
            self._claim.release()
        self._ring_owners(found.arenas[chosen.drop])
        return self._without_corrupt(Lease(shares, now))

    def _take(self, found: Found, chosen: Rows, worker: int, now: float) -> tuple[Share, ...]:
        shares = []
        for arena, which in found.by_arena(chosen):
            rows, table = found.rows[which], self.arenas[arena].rows
            table["worker"][rows] = worker
            table["started"][rows] = 0
            table["leased_at"][rows] = now
            if self._moved(arena, rows, State.WAITING, State.LEASED, Actor.CLAIMER):
                shares.append(Share(arena, rows, found.table[which]))
        return tuple(shares)

    def _without_corrupt(self, lease: Lease) -> Lease | None:
        """The lease without rows that can't be true; those fail."""
        valid = [self.arenas[share.arena].valid(share.table) for share in lease.shares]
        if all(mask.all() for mask in valid):
            return lease if lease.shares else None
        pairs = list(zip(lease.shares, valid, strict=True))
        bad = [Share(share.arena, share.rows[~mask], share.table[~mask]) for share, mask in pairs if not mask.all()]
        good = [Share(share.arena, share.rows[mask], share.table[mask]) for share, mask in pairs if mask.any()]
        self.fail(Lease(tuple(bad), lease.leased_at), Failure.CORRUPT)
        return Lease(tuple(good), lease.leased_at) if good else None

    def drop_unwanted(self, now: float) -> int:
        """Drop expired and cancelled entries without leasing any: what the supervisor does while no worker can. How many.

        0, too, when somebody else holds the claim.
        """
        if not self._claim.try_acquire():
            return 0
        try:
            found = find_waiting(self.arenas)
            if found is None:
                return 0
            drop = plan(found.waiting, Limits(0), now, self.board.virtual_time).drop
            self._drop(found, drop)
        finally:
            self._claim.release()
        self._ring_owners(found.arenas[drop])
        return len(drop)

    def pack(self, lease: Lease) -> Pack:
        """The leased sequences, copied out of shared memory. Raises Corrupt."""
        return lease.pack(self.arenas)

    def start(self, lease: Lease) -> None:
        """Note that these entries now are on the device: should the worker die, they are the suspects."""
        for share in lease.shares:
            self.arenas[share.arena].rows["started"][share.rows] = 1

    def complete(self, lease: Lease, scores: Float32s, forward_s: float) -> None:
        """Write the raw scores (float32, in the pack's order) where the pairs lie and move the entries to DONE."""
        at, tokens, now = 0, sum(int(share.table["tokens"].sum()) for share in lease.shares), time.monotonic()
        for share in lease.shares:
            count = int(share.table["scores"].sum())
            arena, held = self.arenas[share.arena], self._held(share)
            rows = share.rows
            if held.all():
                arena.write_scores(share.table, scores[at : at + count])
            else:
                rows = rows[held]
                arena.write_scores(share.table[held], scores[at : at + count][np.repeat(held, share.table["scores"])])
            arena.rows["forward_s"][rows] = forward_s
            arena.rows["batch_tokens"][rows] = tokens
            arena.rows["ended_at"][rows] = now
            at += count
        self._finish(lease, State.DONE)

    def fail(self, lease: Lease, failure: Failure) -> None:
        """Move the entries to FAILED for `failure`."""
        for share in lease.shares:
            self.arenas[share.arena].rows["failure"][share.rows[self._held(share)]] = int(failure)
        self._finish(lease, State.FAILED)

    def give_back(self, lease: Lease, *, suspect: bool) -> None:
        """Return the entries to WAITING; as suspects, to be scored alone, when their batch failed."""
        for share in lease.shares if suspect else ():
            self.arenas[share.arena].rows["attempts"][share.rows[self._held(share)]] += FAULT
        self._finish(lease, State.WAITING)
        self.ring_workers()

    def _held(self, share: Share) -> NDArray[np.bool_]:
        """Which of the entries still are this lease's: not reaped, not another entry by now."""
        arena = self.arenas[share.arena]
        held: NDArray[np.bool_] = (arena.states[share.rows] == LEASED) & (arena.rows["generation"][share.rows] == share.table["generation"])
        return held

    def _finish(self, lease: Lease, state: State) -> None:
        """Move what is still this worker's; a lease that was reaped meanwhile is left alone."""
        barrier()
        for share in lease.shares:
            while not self._moved(share.arena, share.rows[self._held(share)], State.LEASED, state, Actor.WORKER):
                continue
            self._ringer.ring(self._owner_bells[share.arena])

    def reap(self, worker: int, *, blame: int = FAULT) -> int | None:
        """Take the leases of a dead worker back: entries return to WAITING, those that were on the device as suspects; how many.

        An entry that has ENOUGH `blame` fails. The caller knows that the worker's process has ended. None when somebody else holds the
        claim: then nothing was done, and the caller comes again.
        """
        if not self._claim.try_acquire():
            return None
        reaped = 0
        try:
            for index in range(len(self.arenas)):
                while (rows := self._leased_by(index, worker)).size:
                    reaped += self._reap(index, rows, blame)
        finally:
            self._claim.release()
        if reaped:
            self._ring_owners(np.arange(len(self.arenas)))
            self.ring_workers()
        return reaped

    def _leased_by(self, index: int, worker: int) -> NDArray[np.intp]:
        arena = self.arenas[index]
        rows = np.flatnonzero(arena.states == LEASED)
        mine: NDArray[np.intp] = rows[arena.rows["worker"][rows] == worker]
        return mine

    def _reap(self, index: int, rows: NDArray[np.intp], blame: int) -> int:
        """Move a dead worker's rows of one arena on; how many went."""
        fields = self.arenas[index].rows
        fields["attempts"][rows] += blame * (fields["started"][rows] != 0).astype(np.uint32)
        fields["started"][rows] = 0
        spent = fields["attempts"][rows] >= ENOUGH
        fields["failure"][rows[spent]] = Failure.WORKER_LOST
        moves = ((rows[spent], State.FAILED), (rows[~spent], State.WAITING))
        return sum(len(which) for which, new in moves if self._moved(index, which, State.LEASED, new, Actor.REAPER))

    def ring_workers(self) -> None:
        """Wake every worker."""
        for path in self._worker_bells:
            self._ringer.ring(path)

    def _ring_owners(self, arenas: NDArray[np.intp]) -> None:
        for index in set(arenas.tolist()):
            self._ringer.ring(self._owner_bells[index])

    def _drop(self, found: Found, which: Rows) -> None:
        for arena, indices in found.by_arena(which):
            self._moved(arena, found.rows[indices], State.WAITING, State.CANCELLED, Actor.CLAIMER)

    def _moved(self, arena: int, rows: NDArray[np.intp], old: State, new: State, actor: Actor) -> bool:
        """Move rows that were in `old` a moment ago; False, and nothing moved, when a peer has meddled with them since."""
        try:
            move(self.arenas[arena].states, rows, old, new, actor)
        except IllegalMove:
            return False
        return True

    def close(self) -> None:
        """Let go of every mapping and file."""
        for arena in self.arenas:
            arena.close()
        self.board.close()
        self._claim.close()
        self._ringer.close()

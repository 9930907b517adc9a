"""The life of an entry, as one table. All that decides whether a state may change stands here; nothing here reads a clock or takes a lock.

        put            lease            complete
FREE ────────> WAITING ──────> LEASED ───────────> DONE ──────┐
  ^              │  ^            │ │    fail                  │
  │         drop │  │ give back, │ └────────────> FAILED ─────┤
  │              v  └─ reap ─────┘                            │
  │          CANCELLED ───────────────────────────────────────┤
  └────────────────────────── collect ────────────────────────┘

A worker that dies leaves its entries LEASED; the reaper moves them on. A state is changed only by the actor that the table names,
so no two processes ever write the same state at once: owners own FREE and the three ends, claimers (under the claim lock) own
WAITING, and the worker named in the row owns LEASED for as long as it lives.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class State(IntEnum):
    """Where an entry stands; the value is what lies in shared memory."""

    FREE = 0
    WAITING = 1
    LEASED = 2
    DONE = 3
    FAILED = 4
    CANCELLED = 5


FREE, WAITING, LEASED, DONE, FAILED, CANCELLED = (int(state) for state in State)
"""The same as plain integers: NumPy compares an array with an IntEnum's member ten times slower."""


class Actor(IntEnum):
    """Who may make a move."""

    OWNER = 0
    """The HTTP process whose arena it is."""
    CLAIMER = 1
    """Whoever holds the claim lock."""
    WORKER = 2
    """The worker that holds the lease."""
    REAPER = 3
    """The holder of the claim lock that knows the leasing worker to be dead."""


MOVES: dict[tuple[State, State], frozenset[Actor]] = {
    (State.FREE, State.WAITING): frozenset({Actor.OWNER}),
    (State.WAITING, State.LEASED): frozenset({Actor.CLAIMER}),
    (State.WAITING, State.CANCELLED): frozenset({Actor.CLAIMER}),
    (State.LEASED, State.DONE): frozenset({Actor.WORKER}),
    (State.LEASED, State.FAILED): frozenset({Actor.WORKER, Actor.REAPER}),
    (State.LEASED, State.WAITING): frozenset({Actor.WORKER, Actor.REAPER}),
    (State.DONE, State.FREE): frozenset({Actor.OWNER}),
    (State.FAILED, State.FREE): frozenset({Actor.OWNER}),
    (State.CANCELLED, State.FREE): frozenset({Actor.OWNER}),
}

ENDS = frozenset({State.DONE, State.FAILED, State.CANCELLED})


class Failure(IntEnum):
    """Why an entry FAILED; what lies in its row."""

    NONE = 0
    WORKER_LOST = 1
    SCORING = 2
    OUT_OF_MEMORY = 3
    CORRUPT = 4


class IllegalMove(Exception):
    """A move that the table does not allow; nothing was changed."""


def move(states: NDArray[np.uint32], rows: NDArray[np.intp], old: State, new: State, actor: Actor) -> None:
    """Move all `rows` of the state column from `old` to `new`, or none of them.

    Raises IllegalMove when the table has no such move for `actor`, or when any row is not in `old`.
    """
    if actor not in MOVES.get((old, new), ()):
        raise IllegalMove(f"{actor.name} may not move an entry from {old.name} to {new.name}")
    found = states[rows]
    if (wrong := found != int(old)).any():
        raise IllegalMove(f"rows {rows[wrong].tolist()} are in states {found[wrong].tolist()}, not {old.name}")
    states[rows] = int(new)

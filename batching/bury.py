"""What is done for an HTTP process that died, before its successor takes the arena over: nobody waits for its entries any more."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from batching.arena import Arena
from batching.files import FileLock


def bury(directory: Path, index: int) -> int:
    """Cancel what the dead owner of arena `index` left waiting, and give back what it had reserved; how many entries it left.

    Whoever plans next drops them, instead of scoring for nobody until the successor is up. Leased ones keep their payload, which a worker
    may be reading. Where an owner lives, nothing is changed.
    """
    lock = FileLock(directory / f"owner.{index}")
    try:
        if not lock.try_acquire():
            return 0
        arena = Arena(directory / f"arena.{index}")
        left = np.flatnonzero(arena.in_use())
        arena.rows["cancel"][left] = 1
        arena.reserved_tokens = arena.reserved_requests = 0
        arena.close()
        return len(left)
    finally:
        lock.close()

"""A peer process that means harm: it maps a queue's arenas and writes random bytes over them. `python -m tests.chaos.hostile QUEUE SECONDS SEED PARTS`."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from batching.arena import Arena
from batching.arena_layout import HEADER_BYTES, ROW_BYTES

PARTS = ("states", "rows", "heap")
WRITES, PAUSE_S = 20, 0.002
"""Writes in a row, and the pause after them: 10,000 a second."""
NEAR = 64
"""Rows that are written to: those that are in use."""


def spoil(arena: Arena, part: str, dice: random.Random) -> None:
    """One random write to one part of an arena."""
    row = dice.randrange(min(NEAR, arena.shape.rows))
    if part == "states":
        at, size = HEADER_BYTES + 4 * row, 4
        data = dice.choice([dice.randrange(7), dice.randrange(1 << 32)]).to_bytes(4, "little")
    elif part == "rows":
        size = dice.choice([1, 4, 8])
        at = arena.shape.rows_at + row * ROW_BYTES + dice.randrange(0, ROW_BYTES, size)
        data = dice.choice([bytes(size), b"\xff" * size, dice.randbytes(size)])
    else:
        size = dice.choice([1, 4, 64])
        at = arena.shape.heap_at + dice.randrange(0, min(arena.shape.heap_bytes, 1 << 16) - size)
        data = dice.randbytes(size)
    arena.map[at : at + size] = data


def main(directory: str, seconds: str, seed: str, parts: str) -> None:
    """Write until the time is over."""
    dice, arenas = random.Random(int(seed)), [Arena(path) for path in sorted(Path(directory).glob("arena.*"))]
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        for _ in range(WRITES):
            spoil(dice.choice(arenas), dice.choice(parts.split(",")), dice)
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:])

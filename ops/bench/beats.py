"""How late event loops run, seen from outside: every HTTP process's loop beats four times a second and writes when into its arena.

A beat asks for the next one BEAT_S later, so that what is between two beats over BEAT_S is how late the loop came to it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from batching.arena import Arena
from batching.client import BEAT_S

LOOK_S = 0.05


def lags_ms(beats: Sequence[float]) -> list[float]:
    """Return how late each beat but the first was; `beats` in monotonic seconds, none left out."""
    return [max(0.0, after - before - BEAT_S) * 1e3 for before, after in pairwise(beats)]


class Beats(threading.Thread):
    """Watches the arenas of one queue's directory, from `start` to `stop`."""

    def __init__(self, queue: Path) -> None:
        super().__init__(daemon=True)
        self._arenas = [Arena(path) for path in sorted(queue.glob("arena.*"))]
        self._seen: list[list[float]] = [[] for _ in self._arenas]
        self._stopping = threading.Event()

    def run(self) -> None:
        """Note every beat."""
        while not self._stopping.wait(LOOK_S):
            for arena, seen in zip(self._arenas, self._seen, strict=True):
                beat = float(arena.header["owner_beat"][0])
                if not seen or beat != seen[-1]:
                    seen.append(beat)

    def stop(self) -> list[float]:
        """Return the lags of all beats seen, in milliseconds."""
        self._stopping.set()
        self.join()
        for arena in self._arenas:
            arena.close()
        return [lag for seen in self._seen for lag in lags_ms(seen)]

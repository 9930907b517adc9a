"""Which of two ways to compute the same is faster here."""

from __future__ import annotations

import time
from collections.abc import Callable


def race(one: Callable[[], object], other: Callable[[], object], *, turns: int = 1, seconds: float = 0.0) -> tuple[float, float]:
    """Best times in seconds of both, run in turn: at least `turns` times each, and until `seconds` have passed."""
    best = [float("inf"), float("inf")]
    end = time.perf_counter() + seconds
    while turns > 0 or time.perf_counter() < end:
        turns -= 1
        for place, run in enumerate((one, other)):
            begin = time.perf_counter()
            run()
            best[place] = min(best[place], time.perf_counter() - begin)
    return best[0], best[1]

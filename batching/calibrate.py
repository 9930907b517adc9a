"""The token budget, found by measurement: the smallest batch within a few percent of the best rate, within time and memory limits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from batching.types import OutOfMemory

NEAR_PEAK = 0.97
"""A batch that reaches this part of the best rate is large enough; a smaller one keeps latency low."""
SIZES = tuple(256 << step for step in range(11))
"""Batch sizes that are tried, in tokens: 256 to 262,144."""
REPEATS = 2
UNDISTURBED = 0.8
"""A process that got less of a core than this while it was measured says more about its neighbours than about the model."""


class Point(msgspec.Struct, frozen=True):
    """One batch size measured: tokens of the batch, seconds of its quickest run."""

    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def choose(curve: list[Point], target_s: float) -> int:
    """The smallest measured size within NEAR_PEAK of the best rate, among those that take at most `target_s` (or the smallest of all)."""
    quick = [point for point in curve if point.seconds <= target_s] or curve[:1]
    best = max(point.rate for point in quick)
    return next(point.tokens for point in quick if point.rate >= NEAR_PEAK * best)


def measure(run: Callable[[int], None], *, target_s: float, limit_s: float, largest: int) -> list[Point]:
    """Time `run(tokens)` for growing sizes until one takes longer than `target_s`, memory or `limit_s` ends it, or rates fall twice."""
    curve: list[Point] = []
    until = time.monotonic() + limit_s
    for tokens in SIZES:
        if tokens > largest or (curve and time.monotonic() + REPEATS * 2.5 * curve[-1].seconds > until):
            break
        try:
            curve.append(Point(tokens, min(_timed(run, tokens) for _ in range(REPEATS))))
        except OutOfMemory:
            break
        falling = len(curve) >= 3 and curve[-1].rate < curve[-2].rate < curve[-3].rate
        if curve[-1].seconds > target_s or falling:
            break
    return curve


def undisturbed(used_s: float, took_s: float) -> bool:
    """If a measurement on the CPU had its core to itself, by processor time and the clock; on a busy machine it is not worth keeping."""
    return used_s >= UNDISTURBED * took_s


def _timed(run: Callable[[int], None], tokens: int) -> float:
    began = time.perf_counter()
    run(tokens)
    return time.perf_counter() - began


def cache_directory(environ: dict[str, str]) -> Path:
    """Where measured curves are remembered."""
    if environ.get("CACHE_DIRECTORY"):
        return Path(environ["CACHE_DIRECTORY"].partition(":")[0])
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rerankd"


def recall(key: str) -> list[Point] | None:
    """The curve measured earlier under the same `key` (model, device, number type, versions), if it is remembered."""
    try:
        stored = _known(_file()).get(key)
        return msgspec.convert(stored, list[Point]) if stored else None
    except msgspec.ValidationError:
        return None


def remember(key: str, curve: list[Point]) -> None:
    """Keep a curve for the next start; a cache that can't be written is no error."""
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        known = _known(path) | {key: msgspec.to_builtins(curve)}
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(known, indent=1))
        fresh.replace(path)
    except OSError:
        return


def _known(path: Path) -> dict[str, object]:
    """All curves in the file; none when it is missing or spoilt."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, ValueError, msgspec.ValidationError):
        return {}


def _file() -> Path:
    return cache_directory(dict(os.environ)) / "budgets.json"

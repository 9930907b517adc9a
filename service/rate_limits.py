"""How much one caller may ask: a bucket of requests and a bucket of tokens per key, shared by all HTTP processes.

The buckets lie in one small mapped file in the runtime directory, a row per caller, found by hash. A lock around each look keeps them right
whichever process answers; without a directory (tests) the rows are this process's own. No clock and no lock in the arithmetic.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from batching.errors import RateLimited
from batching.files import FileLock, map_whole
from service.shared_file import make_whole

ROWS = 4096
"""Callers remembered at once; the one that was quiet the longest in its neighbourhood makes room for a new one."""
NEIGHBOURHOOD = 8
LOCK_PATIENCE_S = 0.005
"""Whoever holds the lock for longer stands still; a count that is off by one then is better than an event loop that stands still too."""
BURST_S = 10.0
"""Seconds of its rate that a caller may save up."""

ROW = np.dtype([("caller", "<u8"), ("seen", "<f8"), ("requests", "<f8"), ("tokens", "<f8")])


class RateLimits:
    """Token buckets per caller; both rates in units per second, 0 for no limit."""

    def __init__(self, requests_per_s: float, tokens_per_s: float, directory: Path | None = None) -> None:
        self._rates = (requests_per_s, tokens_per_s)
        self._lock: FileLock | None = None
        self._rows = np.zeros(ROWS, ROW)
        if self.on and directory is not None:
            self._lock = FileLock(directory / "rates.lock")
            self._rows = _shared_rows(directory / "rates")

    @property
    def on(self) -> bool:
        """Whether anything is limited."""
        return any(self._rates)

    def admit(self, caller: str) -> None:
        """Take one request from the caller's bucket. Raises RateLimited while it, or the token bucket, is empty."""
        if not self.on:
            return
        with self._row(caller) as row:
            wait_s, what = max(
                (_wait_s(row["requests"], self._rates[0], 1.0), "requests (RERANKER_RATE_LIMIT_REQUESTS)"),
                (_wait_s(row["tokens"], self._rates[1], 0.0), "tokens (RERANKER_RATE_LIMIT_TOKENS)"),
            )
            if wait_s > 0.0:
                raise RateLimited(f"this key has used up its rate of {what}", wait_s)
            row["requests"] -= 1.0

    def charge(self, caller: str, tokens: int) -> None:
        """Take a request's tokens from the caller's bucket, into debt if need be: a request's size is known only once it is in."""
        if self._rates[1]:
            with self._row(caller) as row:
                row["tokens"] -= tokens

    @contextlib.contextmanager
    def _row(self, caller: str) -> Iterator[np.void]:
        number = int.from_bytes(hashlib.blake2b(caller.encode("utf-8", "replace"), digest_size=8).digest(), "little") or 1
        now = time.monotonic()
        with self._lock.hold(LOCK_PATIENCE_S) if self._lock else contextlib.nullcontext():
            row = self._rows[_place(self._rows, number)]
            refill(row, number, now, self._rates)
            yield row


def refill(row: np.void, caller: int, now: float, rates: tuple[float, float]) -> None:
    """Bring a row up to `now`; a row that was another caller's starts full."""
    fresh = int(row["caller"]) != caller
    passed = max(0.0, now - float(row["seen"]))
    for name, rate in zip(("requests", "tokens"), rates, strict=True):
        full = max(1.0, rate * BURST_S)
        row[name] = full if fresh else min(full, float(row[name]) + passed * rate)
    row["caller"], row["seen"] = caller, now


def _wait_s(level: float, rate: float, needed: float) -> float:
    """Seconds until the bucket holds more than nothing and at least `needed`; 0 where it does, or where there is no limit."""
    if not rate or (level >= needed and level > 0.0):
        return 0.0
    return max((needed - float(level)) / rate, 1.0 / rate)


def _place(rows: np.ndarray[tuple[int], np.dtype[np.void]], caller: int) -> int:
    spots = [(caller + step) % len(rows) for step in range(NEIGHBOURHOOD)]
    return next((spot for spot in spots if int(rows["caller"][spot]) == caller), min(spots, key=lambda spot: float(rows["seen"][spot])))


def _shared_rows(path: Path) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    make_whole(path, ROWS * ROW.itemsize)
    return np.frombuffer(map_whole(path, ROWS * ROW.itemsize), ROW)

"""A bounded table of what was seen lately, for caches. Keys are hashes: no text is kept.

Two generations stand in for an order of use: when the young one is half the bound it becomes the old one and the old one is forgotten; what
is found in the old one is young again. So nothing needs to be moved when the young one is hit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")

LARGEST_SHARE = 64
"""A value over this part of the bound would drive out too many others."""


class Generations(Generic[Value]):
    """At most `most_bytes` bytes of values by key, by what `size` says of each; 0 holds nothing. Safe to use from several threads."""

    def __init__(self, most_bytes: int, size: Callable[[Value], int]) -> None:
        self._half = most_bytes // 2
        self._largest = most_bytes // LARGEST_SHARE
        self._size = size
        self._young: dict[bytes, Value] = {}
        self._old: dict[bytes, Value] = {}
        self._young_bytes = 0
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self._young)} young, {len(self._old)} old>"

    @property
    def used_bytes(self) -> int:
        """About the bytes held."""
        return sum(self._size(value) for generation in (self._young, self._old) for value in generation.values())

    def find(self, key: bytes) -> Value | None:
        """Return what was kept under a key, or None; counts it as a hit or a miss."""
        found = self._young.get(key)
        if found is None:
            with self._lock:
                found = self._old.pop(key, None)
                if found is not None:
                    self._keep(key, found)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def keep(self, key: bytes, value: Value) -> None:
        """Keep a value, unless it is too large."""
        if self._size(value) > self._largest:
            return
        with self._lock:
            self._old.pop(key, None)
            self._keep(key, value)

    def _keep(self, key: bytes, value: Value) -> None:
        before = self._young.get(key)
        size = self._size(value) - (self._size(before) if before is not None else 0)
        if self._young_bytes + size > self._half:
            self._old, self._young, self._young_bytes = self._young, {}, 0
            self._old.pop(key, None)
            size = self._size(value)
        self._young[key] = value
        self._young_bytes += size

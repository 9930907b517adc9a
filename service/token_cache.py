"""Tokens of documents that were seen before, in a bounded number of bytes: a search backend sends the same documents again and again.

Keys are hashes: no text is kept. Two generations stand in for an order of use: when the young one is half the bound it becomes the old one
and the old one is forgotten; what is found in the old one is young again. So nothing needs to be moved when the young one is hit.
"""

from __future__ import annotations

import hashlib
import threading

from batching.types import Int32s

ENTRY_BYTES = 320
"""Of an entry besides its ids: key, array object, tuple, and its place in the table."""
LARGEST_SHARE = 64
"""An entry over this part of the bound would drive out too many others."""

_Entry = tuple[Int32s, bool]


class TokenCache:
    """A `batching.families.bodies.TokenCache`. Safe to use from several threads."""

    def __init__(self, most_bytes: int) -> None:
        """Hold at most `most_bytes` bytes; 0 holds nothing."""
        self._half = most_bytes // 2
        self._largest = most_bytes // LARGEST_SHARE
        self._young: dict[bytes, _Entry] = {}
        self._old: dict[bytes, _Entry] = {}
        self._young_bytes = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<TokenCache {len(self._young)} young, {len(self._old)} old>"

    @property
    def used_bytes(self) -> int:
        """About the bytes held."""
        return sum(_size(ids) for generation in (self._young, self._old) for ids, _ in generation.values())

    def get(self, text: str) -> _Entry | None:
        """Return the ids put for this text and whether they are all of its ids, or None."""
        key = _key(text)
        found = self._young.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._old.pop(key, None)
            if found is not None:
                self._keep(key, found)
        return found

    def put(self, text: str, ids: Int32s, complete: bool) -> None:
        """Keep `ids`, int32, of `text`: all of them, or its first ones."""
        if _size(ids) > self._largest:
            return
        key = _key(text)
        with self._lock:
            self._old.pop(key, None)
            self._keep(key, (ids, complete))

    def _keep(self, key: bytes, entry: _Entry) -> None:
        before = self._young.get(key)
        size = _size(entry[0]) - (_size(before[0]) if before else 0)
        if self._young_bytes + size > self._half:
            self._old, self._young, self._young_bytes = self._young, {}, 0
            self._old.pop(key, None)
            size = _size(entry[0])
        self._young[key] = entry
        self._young_bytes += size


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _size(ids: Int32s) -> int:
    return int(ids.nbytes) + ENTRY_BYTES

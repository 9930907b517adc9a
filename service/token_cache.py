"""Tokens of documents that were seen before, in a bounded number of bytes: a search backend sends the same documents again and again."""

from __future__ import annotations

import hashlib

from batching.types import Int32s
from service.generations import LARGEST_SHARE, Generations

__all__ = ["ENTRY_BYTES", "LARGEST_SHARE", "TokenCache"]

ENTRY_BYTES = 320
"""Of an entry besides its ids: key, array object, tuple, and its place in the table."""

_Entry = tuple[Int32s, bool]


class TokenCache(Generations[_Entry]):
    """A `batching.families.bodies.TokenCache`."""

    def __init__(self, most_bytes: int) -> None:
        """Hold at most `most_bytes` bytes; 0 holds nothing."""
        super().__init__(most_bytes, _size)

    def get(self, text: str) -> _Entry | None:
        """Return the ids put for this text and whether they are all of its ids, or None."""
        return self.find(_key(text))

    def put(self, text: str, ids: Int32s, complete: bool) -> None:
        """Keep `ids`, int32, of `text`: all of them, or its first ones."""
        self.keep(_key(text), (ids, complete))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _size(entry: _Entry) -> int:
    return int(entry[0].nbytes) + ENTRY_BYTES

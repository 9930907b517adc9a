"""Where everything lies in an arena's file, and who writes it.

    header     4,096 bytes         magic, version, shape; `reserved_tokens`, the owner's
    states     4 bytes a row       the state column, apart from the rows so that a scan for waiting entries reads few cache lines
    rows       128 bytes each      two cache lines: what the owner writes once, then what the worker writes
    heap       the rest            payloads, 64-byte aligned, allocated by the owner alone

A payload is 32-bit words: lengths [S], splits [S], scores [N] (float32, written by the worker), token ids [T], and with images `blocks` of
tiles (`batching/tiles.py`). Its kind stands in the row.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from batching.tiles import BLOCK_BYTES

MAGIC = b"rerankdA"
VERSION = 3
HEADER_BYTES = 4096
ROW_BYTES = 128
KIND_TOKENS, KIND_TILES = 1, 2
"""Payload kinds: token sequences, and those with tiles of images behind their ids, in `blocks` of their own."""

HEADER = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("rows", "<u4"),
        ("heap_bytes", "<u8"),
        ("owner_pid", "<u4"),
        ("index", "<u4"),
        ("reserved_tokens", "<i8"),  # the owner
        ("reserved_requests", "<i8"),  # the owner
        ("owner_beat", "<f8"),  # the owner, some times a second, monotonic seconds
        ("high", "<u4"),  # the owner: rows from here on are free, and need no look
    ]
)
ROW = np.dtype(
    [
        # the owner, while FREE
        ("generation", "<u4"),
        ("attempts", "<u4"),  # what speaks against it: afterwards the reaper's, or a worker's that gives it back
        ("kind", "u1"),
        ("shared", "u1"),
        ("blocks", "<u2"),
        ("priority", "<u4"),
        ("request", "<u8"),
        ("deadline", "<f8"),
        ("put_at", "<f8"),
        ("start_tag", "<f8"),
        ("offset", "<u8"),
        ("tokens", "<u4"),
        ("sequences", "<u4"),
        ("scores", "<u4"),
        ("cost", "<u4"),
        ("trace", "S16"),
        ("cancel", "<u4"),  # the owner, at any time
        # the claimer or the worker, from the lease on
        ("worker", "<u4"),
        ("started", "<u4"),
        ("failure", "<u4"),
        ("leased_at", "<f8"),
        ("forward_s", "<f4"),
        ("batch_tokens", "<u4"),
        ("ended_at", "<f8"),
    ]
)
OWNER_FIELDS = struct.Struct("<IIBBHIQdddQIIII16sIIII")
"""The fields of a row that the owner writes when it puts an entry: all up to and with `failure`, in order."""
ALL_FIELDS = struct.Struct(OWNER_FIELDS.format + "dfId")
"""A whole row, for reading one: far quicker than field by field."""


@dataclass(frozen=True, slots=True)
class ArenaShape:
    """What is fixed when an arena is made."""

    rows: int
    heap_bytes: int

    @property
    def rows_at(self) -> int:
        """Where the rows begin: behind the state column, on a cache line."""
        return HEADER_BYTES + (self.rows * 4 + 63) // 64 * 64

    @property
    def heap_at(self) -> int:
        """Where the heap begins."""
        return self.rows_at + self.rows * ROW_BYTES

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.heap_at + self.heap_bytes


def payload_bytes(sequences: int, scores: int, tokens: int, blocks: int = 0) -> int:
    """Bytes of one entry's payload."""
    return 4 * (2 * sequences + scores + tokens) + blocks * BLOCK_BYTES


class Row(NamedTuple):
    """A row read at once; fields as in ROW."""

    generation: int
    attempts: int
    kind: int
    shared: int
    blocks: int
    priority: int
    request: int
    deadline: float
    put_at: float
    start_tag: float
    offset: int
    tokens: int
    sequences: int
    scores: int
    cost: int
    trace: bytes
    cancel: int
    worker: int
    started: int
    failure: int
    leased_at: float
    forward_s: float
    batch_tokens: int
    ended_at: float

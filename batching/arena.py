"""One HTTP process's shared memory: its entries' states, their rows and their payloads. Where it lies: `batching/arena_layout.py`.

The owner writes the payload, then the row, then (behind a barrier) the state; a reader that sees WAITING therefore sees the rest.
Everyone else treats what it reads as untrusted: `Arena.valid` checks every count against the heap before anything is read by it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batching.arena_layout import ALL_FIELDS, HEADER, HEADER_BYTES, MAGIC, ROW, ROW_BYTES, VERSION, ArenaShape, Row
from batching.errors import LayoutMismatch
from batching.files import create, let_go, map_whole
from batching.states import LEASED, WAITING
from batching.tiles import BLOCK_BYTES, Tiles
from batching.tiles import read as read_tiles
from batching.types import Float32s, Int32s

LONG_WORDS = 64  # stretches longer than this on average are quicker copied one by one than gathered


def spans(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices [start, start + count) of each span, one after another."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


class Arena:
    """A mapping of one arena's file. Who may write what is said in `states.MOVES` and beside each field above."""

    def __init__(self, path: Path) -> None:
        self.map = map_whole(path, HEADER_BYTES)
        self.header: NDArray[np.void] = np.frombuffer(self.map, HEADER, 1)
        if bytes(self.header["magic"][0]) != MAGIC or int(self.header["version"][0]) != VERSION:
            raise LayoutMismatch(f"{path} was made by another version of rerankd")
        self.shape = ArenaShape(int(self.header["rows"][0]), int(self.header["heap_bytes"][0]))
        if len(self.map) != self.shape.size:
            raise LayoutMismatch(f"{path} has {len(self.map)} bytes where its header says {self.shape.size}")
        self.states: NDArray[np.uint32] = np.frombuffer(self.map, np.uint32, self.shape.rows, HEADER_BYTES)
        self.rows: NDArray[np.void] = np.frombuffer(self.map, ROW, self.shape.rows, self.shape.rows_at)
        self._lines = self.rows.view(np.uint64).reshape(self.shape.rows, ROW_BYTES // 8)
        self.words: Int32s = np.frombuffer(self.map, np.int32, self.shape.heap_bytes // 4, self.shape.heap_at)
        self.floats: Float32s = self.words.view(np.float32)

    @staticmethod
    def make(path: Path, shape: ArenaShape, index: int) -> None:
        """Create the file with its space reserved, every row free. Raises StartError when there is no room."""
        create(path, shape.size)
        header = np.zeros(1, HEADER)
        header["version"], header["rows"], header["heap_bytes"], header["index"] = VERSION, shape.rows, shape.heap_bytes, index
        header["magic"] = MAGIC
        with path.open("r+b") as file:
            file.write(header.tobytes())

    def row(self, row: int) -> Row:
        """One row, copied."""
        return Row._make(ALL_FIELDS.unpack_from(self.map, self.shape.rows_at + row * ROW_BYTES))

    def in_state(self, state: int) -> NDArray[np.intp]:
        """Rows in `state`, below the owner's high mark."""
        rows: NDArray[np.intp] = (self.states[: int(self.header["high"][0])] == state).nonzero()[0]
        return rows

    def in_use(self) -> NDArray[np.bool_]:
        """Which rows wait or are leased. One look at all: an entry that is given back meanwhile must not be missed in both states."""
        states = self.states.copy()
        used: NDArray[np.bool_] = (states == WAITING) | (states == LEASED)
        return used

    def gather(self, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Whole rows, copied, as [n, 16] words that `.view(ROW)` turns into a table."""
        lines: NDArray[np.uint64] = self._lines[rows]
        return lines

    def valid(self, table: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which of these rows (as `gather` copied them) speak of bytes that can be theirs, and of as many scores as they can have."""
        offset, sequences, scores, tokens = (table[name].astype(np.int64) for name in ("offset", "sequences", "scores", "tokens"))
        ends = offset // 4 + 2 * sequences + scores + tokens
        if table["blocks"].any():
            ends += table["blocks"].astype(np.int64) * (BLOCK_BYTES // 4)
        inside = (offset >= 0) & (offset % 4 == 0) & (ends <= len(self.words))
        scored = sequences - (table["shared"] != 0)
        counted = (scores == scored) | ((sequences == 1) & (scores > 0))
        valid: NDArray[np.bool_] = inside & (scored > 0) & (tokens > 0) & counted
        return valid

    def read(self, table: NDArray[np.void]) -> tuple[Int32s, Int32s, Int32s]:
        """The lengths, splits and ids of these rows' payloads, copied, each row after row; the rows must be valid."""
        if len(table) == 1:  # an idle service's case, where every microsecond is the caller's
            first, count, scores, tokens = (int(table[name][0]) for name in ("offset", "sequences", "scores", "tokens"))
            lengths_at, splits_at, ids_at = first // 4, first // 4 + count, first // 4 + 2 * count + scores
            words = self.words
            return words[lengths_at:splits_at].copy(), words[splits_at : splits_at + count].copy(), words[ids_at : ids_at + tokens].copy()
        at, sequences = table["offset"].astype(np.int64) // 4, table["sequences"].astype(np.int64)
        ids_at = at + 2 * sequences + table["scores"]
        return (
            self.words[spans(at, sequences)],
            self.words[spans(at + sequences, sequences)],
            self._stretches(ids_at, table["tokens"].astype(np.int64)),
        )

    def read_tiles(self, fields: NDArray[np.void]) -> Tiles | None:
        """The tiles of one valid row (as `gather` copied it), copied. Raises ValueError when they contradict themselves."""
        if not (blocks := int(fields["blocks"])):
            return None
        count = int(fields["sequences"])
        at = int(fields["offset"]) // 4 + 2 * count + int(fields["scores"]) + int(fields["tokens"])
        return read_tiles(self.words[at : at + blocks * (BLOCK_BYTES // 4)], count)

    def _stretches(self, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Int32s:
        """Stretches of the heap's words, copied, one after the other. Long ones are copied whole, short ones gathered word by word."""
        if counts.sum() < LONG_WORDS * len(counts):
            return self.words[spans(starts, counts)]
        return np.concatenate([self.words[start : start + count] for start, count in zip(starts.tolist(), counts.tolist(), strict=True)])

    def write_scores(self, table: NDArray[np.void], scores: Float32s) -> None:
        """Put scores (float32, row after row) where these rows' pairs lie; the rows must be valid."""
        if len(table) == 1:
            first = int(table["offset"][0]) // 4 + 2 * int(table["sequences"][0])
            self.floats[first : first + len(scores)] = scores
            return
        at = table["offset"].astype(np.int64) // 4 + 2 * table["sequences"].astype(np.int64)
        self.floats[spans(at, table["scores"].astype(np.int64))] = scores

    @property
    def reserved_tokens(self) -> int:
        """Tokens that the owner has admitted and not yet answered."""
        return int(self.header["reserved_tokens"][0])

    @reserved_tokens.setter
    def reserved_tokens(self, value: int) -> None:
        self.header["reserved_tokens"][0] = value

    @property
    def reserved_requests(self) -> int:
        """Requests that the owner has admitted and not yet answered."""
        return int(self.header["reserved_requests"][0])

    @reserved_requests.setter
    def reserved_requests(self, value: int) -> None:
        self.header["reserved_requests"][0] = value

    def close(self) -> None:
        """Let go of the mapping; views still held elsewhere keep it alive until they go."""
        del self.header, self.states, self.rows, self._lines, self.words, self.floats
        let_go(self.map)

"""The arena: its file is refused unless this program wrote it, struct and table agree on every field, and no row reads past the heap."""

from __future__ import annotations

import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.arena import Arena, spans
from batching.arena_layout import ALL_FIELDS, HEADER, HEADER_BYTES, OWNER_FIELDS, ROW, ROW_BYTES, ArenaShape, Row, payload_bytes
from batching.errors import LayoutMismatch, StartError

SHAPE = ArenaShape(rows=5, heap_bytes=4096)
WORDS = SHAPE.heap_bytes // 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Arena.make(tmp_path / "arena.0", SHAPE, 7)
    return tmp_path / "arena.0"


def test_an_arena_says_its_shape_and_starts_free(path: Path) -> None:
    """What was made is what is read: all rows free, nothing reserved, zeros in the heap."""
    arena = Arena(path)
    assert arena.shape == SHAPE
    assert int(arena.header["index"][0]) == 7
    assert not arena.states.any()
    assert arena.reserved_tokens == 0
    assert not arena.words.any()


@pytest.mark.parametrize(("at", "value"), [(0, b"RERANKDA"), (8, b"\x63\0\0\0"), (12, b"\x06\0\0\0"), (16, b"\0\0\1\0\0\0\0\0")])
def test_another_layout_is_refused(path: Path, at: int, value: bytes) -> None:
    """Wrong magic, version, number of rows or size of the heap: LayoutMismatch, which names the file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value)
    with pytest.raises(LayoutMismatch, match=re.escape(str(path))):
        Arena(path)


@pytest.mark.parametrize("size", [0, 1, HEADER_BYTES - 1, SHAPE.size - 1, SHAPE.size + 4096])
def test_another_size_is_refused(path: Path, size: int) -> None:
    """A file that was cut or grew is no arena, and a cut one never becomes a SIGBUS."""
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(LayoutMismatch):
        Arena(path)


def test_space_is_reserved_when_it_is_made(path: Path) -> None:
    """The file has blocks for all its bytes, so that no later write can find the disk full."""
    assert path.stat().st_blocks * 512 >= SHAPE.size


def test_an_arena_is_never_made_over_another(path: Path) -> None:
    """The file must not be there yet, and stays as it was."""
    Arena(path).states[0] = 1
    with pytest.raises((StartError, FileExistsError)):
        Arena.make(path, SHAPE, 0)
    assert Arena(path).states[0] == 1


def test_parts_do_not_overlap() -> None:
    """Header, states, rows and heap lie behind each other on cache lines, and make up the file."""
    assert HEADER.itemsize <= HEADER_BYTES
    assert HEADER_BYTES + SHAPE.rows * 4 <= SHAPE.rows_at
    assert SHAPE.rows_at % 64 == SHAPE.heap_at % 64 == 0
    assert SHAPE.rows_at + SHAPE.rows * ROW_BYTES == SHAPE.heap_at
    assert SHAPE.heap_at + SHAPE.heap_bytes == SHAPE.size


def test_struct_and_table_agree_field_by_field() -> None:
    """A row packed by the struct reads the same in the table, for every field alone: same place, same type."""
    assert ROW.itemsize == ROW_BYTES == ALL_FIELDS.size
    names = [name for name in ROW.names or () if name != "unused"]
    assert list(Row._fields) == names
    for place, name in enumerate(names):
        values: list[object] = [b"" if field == "trace" else 0 for field in names]
        values[place] = b"0123456789abcdef" if name == "trace" else 0.5 if ROW[name].kind == "f" else 3
        table = np.frombuffer(ALL_FIELDS.pack(*values), ROW)[0]
        assert [table[field].item() == value for field, value in zip(names, values, strict=True)] == [True] * len(names), name


def test_the_owners_struct_is_the_beginning_of_the_row() -> None:
    """What the owner packs ends with `failure`; what workers write afterwards is left alone."""
    fields = list(Row._fields[: Row._fields.index("failure") + 1])
    assert OWNER_FIELDS.size == ROW.fields["leased_at"][1]  # type: ignore[index]
    assert len(OWNER_FIELDS.unpack(bytes(OWNER_FIELDS.size))) == len(fields)


def test_rows_read_back_one_by_one_and_together(path: Path) -> None:
    """`row` and `gather` give what was written to the table."""
    arena = Arena(path)
    for row in range(SHAPE.rows):
        struct.pack_into("<I", arena.map, SHAPE.rows_at + row * ROW_BYTES, row + 100)
        arena.rows["tokens"][row] = row * 2
    assert [arena.row(row).generation for row in range(SHAPE.rows)] == [100, 101, 102, 103, 104]
    table = arena.gather(np.array([3, 1])).view(ROW)[:, 0]
    assert table["generation"].tolist() == [103, 101]
    assert table["tokens"].tolist() == [6, 2]


def test_scans_stop_at_the_high_mark(path: Path) -> None:
    """Rows from the owner's high mark on are not looked at."""
    arena = Arena(path)
    arena.states[:] = 1
    arena.header["high"][0] = 3
    assert arena.in_state(1).tolist() == [0, 1, 2]


counts = st.integers(0, WORDS) | st.sampled_from([0, 1, 2**31, 2**32 - 1])
offsets = st.integers(0, SHAPE.heap_bytes + 8) | st.sampled_from([2**63, 2**64 - 4, 2**64 - 1])


@given(offsets, counts, counts, st.sampled_from(["pairs", "list", "any"]), st.booleans(), st.data())
def test_only_rows_inside_the_heap_are_valid(
    offset: int, sequences: int, tokens: int, kind: str, shared: bool, data: st.DataObject
) -> None:
    """A row counts as valid exactly if its words lie in the heap, without overflow, and it has a score per sequence or is one list."""
    scores = max(0, sequences - shared) if kind == "pairs" else data.draw(counts)
    sequences = 1 if kind == "list" else sequences
    arena = Arena.__new__(Arena)
    arena.words = np.zeros(WORDS, np.int32)
    table = np.zeros(1, ROW)
    table["offset"], table["sequences"], table["scores"], table["tokens"], table["shared"] = offset, sequences, scores, tokens, shared
    inside = offset % 4 == 0 and offset + payload_bytes(sequences, scores, tokens) <= SHAPE.heap_bytes
    counted = scores == sequences - shared or (sequences == 1 and scores > 0)
    assert arena.valid(table).tolist() == [bool(inside and sequences > shared and tokens and counted)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=8))
def test_spans_are_the_ranges(ranges: list[tuple[int, int]]) -> None:
    """The indices of all ranges, one after another."""
    starts, lengths = (np.array([pair[column] for pair in ranges], np.int64) for column in (0, 1))
    assert spans(starts, lengths).tolist() == [index for start, count in ranges for index in range(start, start + count)]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 260)), min_size=2, max_size=3))
def test_payloads_are_copied_whole_whatever_their_lengths(payloads: list[tuple[int, int]]) -> None:
    """Long stretches and short ones come out as the heap has them, and are copies."""
    with tempfile.TemporaryDirectory() as directory:
        Arena.make(Path(directory) / "arena.0", SHAPE, 7)
        arena = Arena(Path(directory) / "arena.0")
        arena.words[:] = np.arange(WORDS, dtype=np.int32)
        table, at = np.zeros(len(payloads), ROW), 0
        for row, (sequences, tokens) in zip(table, payloads, strict=True):
            row["offset"], row["sequences"], row["scores"], row["tokens"] = 4 * at, sequences, sequences, tokens
            at += 3 * sequences + tokens
        lengths, _, ids = arena.read(table)
        at, want, heads = 0, [], []
        for sequences, tokens in payloads:
            heads += range(at, at + sequences)
            want += range(at + 3 * sequences, at + 3 * sequences + tokens)
            at += 3 * sequences + tokens
        assert ids.tolist() == want
        assert lengths.tolist() == heads
        ids[:] = 0
        assert arena.words[3 * payloads[0][0]] == 3 * payloads[0][0]

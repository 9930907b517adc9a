"""The board: its file is refused unless this program wrote it, every field has its place, and views say what lies there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from batching.board import BATCH_TOKENS_BOUNDS, CURVE_POINTS, FORWARD_SECONDS_BOUNDS, HEADER, SLOT, Board, BoardShape
from batching.calibrate import SIZES, Point
from batching.errors import LayoutMismatch, StartError
from batching.report import Report
from batching.types import Pack
from batching.worker_view import WorkerState

SHAPE = BoardShape(workers=2, owners=3, limit_tokens=5000, max_pairs=77)
SIZE = HEADER.itemsize + SHAPE.workers * SLOT.itemsize


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Board.make(tmp_path / "board", SHAPE)
    return tmp_path / "board"


def test_a_board_says_its_shape_and_starts_empty(path: Path) -> None:
    """What was made is what is read; no worker is there and nothing is idle."""
    board = Board(path)
    assert board.shape == SHAPE
    assert [worker.state for worker in board.workers()] == ["empty", "empty"]
    assert (board.idle_workers(), board.budget_tokens(), board.virtual_time) == ([], 0, 0.0)
    assert all(worker.heartbeat_age_s == worker.forward_age_s == float("inf") for worker in board.workers())
    assert not any(worker.ready(60.0) for worker in board.workers())


@pytest.mark.parametrize(("at", "value"), [(0, b"RERANKDB"), (8, b"\x63\0\0\0"), (12, b"\x03\0\0\0")])
def test_another_layout_is_refused(path: Path, at: int, value: bytes) -> None:
    """Wrong magic, version or number of workers: LayoutMismatch, which names the file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value)
    with pytest.raises(LayoutMismatch, match=re.escape(str(path))):
        Board(path)


@pytest.mark.parametrize("size", [0, 1, HEADER.itemsize - 1, SIZE - 1, SIZE + SLOT.itemsize])
def test_another_size_is_refused(path: Path, size: int) -> None:
    """A file that was cut or grew is no board."""
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(LayoutMismatch):
        Board(path)


def test_a_board_is_never_made_over_another(path: Path) -> None:
    """The file must not be there yet."""
    with pytest.raises((StartError, FileExistsError)):
        Board.make(path, SHAPE)


def test_a_slot_holds_every_field() -> None:
    """Fields lie one after another without overlap, aligned for atomic stores, within the slot."""
    assert SLOT.itemsize == 1024
    ends = 0
    for name in SLOT.names or ():
        kind, offset = SLOT.fields[name][:2]  # type: ignore[index]
        assert offset >= ends
        assert offset % min(8, kind.base.alignment or 1) == 0
        ends = offset + kind.itemsize


def test_slots_do_not_touch_each_other(path: Path) -> None:
    """What is written to one slot changes no other, nor the header."""
    board = Board(path)
    board.slots[1] = np.frombuffer(b"\xff" * board.slots.dtype.itemsize, board.slots.dtype)[0]
    assert Board(path).shape == SHAPE
    assert Board(path).workers()[0].state == "empty"
    assert Board(path).idle_workers() == [1]


def test_virtual_time_is_shared(path: Path) -> None:
    """One process's virtual time is every process's."""
    ours, theirs = Board(path), Board(path)
    ours.virtual_time = 12.5
    assert theirs.virtual_time == 12.5


def test_the_budget_is_the_smallest_of_ready_workers(path: Path) -> None:
    """A worker that is not ready does not count."""
    board = Board(path)
    board.slots["budget_tokens"] = [4096, 512]
    board.slots["state"][0] = WorkerState.READY
    assert board.budget_tokens() == 4096
    board.slots["state"][1] = WorkerState.READY
    assert board.budget_tokens() == 512


class Lease:
    entries = 3
    cost = 5


def test_a_report_is_read_as_it_was_written(path: Path) -> None:
    """Batches, pairs, tokens and times add up over processes of one slot; buckets are cumulative and end in the count of all."""
    board = Board(path)
    pack = Pack(*[np.zeros(4, np.int32)] * 5, np.zeros(4, np.bool_))
    for batch in range(3):
        report = Report(Board(path), 1)
        report.forward_ends(Lease(), pack, np.array([1.0, np.nan], np.float32), 0.002 * 10**batch)  # type: ignore[arg-type]
    worker = board.workers()[1]
    assert (worker.batches, worker.entries, worker.pairs, worker.tokens, worker.nan_scores) == (3, 9, 6, 12, 3)
    assert worker.padded_tokens == 15
    assert worker.busy_s == worker.forward_seconds_sum == pytest.approx(0.222)
    assert worker.batch_tokens_buckets == [3] * (len(BATCH_TOKENS_BOUNDS) + 1)
    for bound, count in zip(FORWARD_SECONDS_BOUNDS, worker.forward_seconds_buckets, strict=False):
        assert count == sum(seconds <= bound for seconds in (0.002, 0.02, 0.2))
    assert worker.forward_seconds_buckets[-1] == 3
    assert worker.forward_age_s < 60
    assert board.workers()[0].batches == 0


def test_a_measured_curve_is_read_as_it_was_written(path: Path) -> None:
    """There is room for every size that is tried; a new curve leaves nothing of the old one; of too long a one the end is kept."""
    board, report = Board(path), Report(Board(path), 1)
    assert len(SIZES) <= CURVE_POINTS
    for sizes in (SIZES, SIZES[:3], (), range(1, 31)):
        report.curve([Point(tokens, tokens / 4096) for tokens in sizes])
        read = board.workers()[1].curve
        assert [point.tokens for point in read] == list(sizes)[-CURVE_POINTS:]
        assert all(point.rate == pytest.approx(4096, rel=1e-6) for point in read)
    assert board.workers()[0].curve == []


def test_texts_fit_their_fields(path: Path) -> None:
    """A reason longer than its field is cut, and text that is cut inside a character still reads."""
    Report(Board(path), 0).reason("ü" * 300)
    assert Board(path).workers()[0].reason.startswith("ü" * 120)


def test_padding_is_said_by_the_worker(path: Path) -> None:
    """False until a worker has loaded a model that pads; every reader sees it then."""
    reader, writer = Board(path), Board(path)
    assert reader.padded is False
    writer.padded = True
    assert reader.padded is True


def test_counters_lie_where_the_fields_are(path: Path) -> None:
    """Written at once, they are read by name; the state is read where it lies."""
    board = Board(path)
    board.set_counters(1, (1.5, 2.5, 3, 4, 5, 6, 7, 8))
    names = ("busy_s", "forward_sum_s", "batches", "entries", "pairs", "tokens", "padded_tokens", "saved_tokens")
    assert [float(board.slots[name][1]) for name in names] == [1.5, 2.5, 3, 4, 5, 6, 7, 8]
    assert board.counters_of(0) == (0,) * 8
    assert not board.any_ready()
    board.slots["state"][1] = WorkerState.READY
    assert board.any_ready()

"""The files of one model's queue: what they are, how large, and how they are made. Its directory is the whole queue.

    board             the workers and virtual time
    claim             lock file: who may plan a batch now
    arena.<i>         one per HTTP process, and owner.<i>, the lock that its owner holds for life
    owner.<i>.bell    rung when entries of arena <i> came to an end
    worker.<k>.bell   rung when there may be work

What is done with them: `batching/queue.py` and `batching/client.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batching.arena import Arena
from batching.arena_layout import ArenaShape, payload_bytes
from batching.bell import check_path
from batching.board import Board, BoardShape


@dataclass(frozen=True, slots=True)
class QueueShape:
    """What is fixed when a queue is made: how many workers and owners, and how much may wait."""

    board: BoardShape
    arena: ArenaShape


def make_queue(directory: Path, shape: QueueShape) -> None:
    """Create the queue's directory and every file in it. Raises StartError when there is no room or the path is too long."""
    check_path(directory / "worker.999.bell")
    directory.mkdir(mode=0o700)
    Board.make(directory / "board", shape.board)
    for index in range(shape.board.owners):
        Arena.make(directory / f"arena.{index}", shape.arena, index)


def worker_bell(directory: Path, slot: int) -> Path:
    """Where worker `slot` listens."""
    return directory / f"worker.{slot}.bell"


def owner_bell(directory: Path, index: int) -> Path:
    """Where the owner of arena `index` listens."""
    return directory / f"owner.{index}.bell"


def queue_shape(
    *, workers: int, owners: int, limit_tokens: int, max_request_scores: int, max_pairs: int | None = None, image_bytes: int = 0
) -> QueueShape:
    """Sizes that hold `limit_tokens` waiting tokens and `image_bytes` of tiles in any one arena, with room for fragments and for the
    per-pair words.
    """
    heap = (payload_bytes(max_request_scores, max_request_scores, limit_tokens) + image_bytes) * 5 // 4
    rows = max(1024, min(16384, limit_tokens // 64))
    return QueueShape(BoardShape(workers, owners, limit_tokens, max_pairs or 0), ArenaShape(rows, (heap + 4095) // 4096 * 4096))

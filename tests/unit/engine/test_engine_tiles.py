"""Tiles of images travel with their own sequences: through cutting, shared memory, a batch of several entries and halving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching import tiles as tiles_module
from batching.arena_layout import KIND_TILES, ArenaShape, payload_bytes
from batching.board import BoardShape
from batching.cut import MOST_TILE_BYTES, Cut, cut
from batching.errors import TooLarge
from batching.halve import halves
from batching.lease import Corrupt, Lease
from batching.owner import Owner, Stamp
from batching.planner import Limits
from batching.queue import Queue
from batching.queue_files import QueueShape, make_queue, queue_shape
from batching.tiles import BLOCK_BYTES, Tiles
from batching.types import Pack, Sequences

SIZE = 12
HEAP = 4 * BLOCK_BYTES


def request(counts: list[int], first: int = 0) -> Sequences:
    """A sequence per count; sequence k has k + 1 tokens `first` + k, and tiles filled with the same number."""
    numbers = [first + place for place in range(len(counts))]
    lengths = np.arange(1, len(counts) + 1, dtype=np.int32)
    pixels = np.array([[number] * SIZE for number, count in zip(numbers, counts, strict=True) for _ in range(count)], np.uint8)
    found = Tiles(np.array(counts, np.int32), pixels.reshape(-1, SIZE)) if any(counts) else None
    return Sequences(np.repeat(np.array(numbers, np.int32), lengths), lengths, np.zeros_like(lengths), False, len(counts), found)


def tiles_by_number(found: Sequences | Pack) -> dict[int, list[int]]:
    """Every sequence's number and the numbers in its tiles. Each tile must be of one number throughout."""
    starts = np.cumsum(found.lengths) - found.lengths
    numbers = found.ids[starts].tolist()
    if found.tiles is None:
        return {number: [] for number in numbers}
    assert found.tiles.pixels.shape == (found.tiles.counts.sum(), SIZE)
    assert (found.tiles.pixels == found.tiles.pixels[:, :1]).all()
    parts = np.split(found.tiles.pixels[:, 0], np.cumsum(found.tiles.counts)[:-1])
    return {number: part.tolist() for number, part in zip(numbers, parts, strict=True)}


def right(counts: list[int], first: int = 0) -> dict[int, list[int]]:
    return {first + place: [first + place] * count for place, count in enumerate(counts)}


@pytest.fixture
def directory(short_path: Path) -> Path:
    make_queue(short_path / "q", QueueShape(BoardShape(1, 1, 10_000), ArenaShape(8, HEAP)))
    return short_path / "q"


@pytest.fixture
def owner(directory: Path) -> Iterator[Owner[str]]:
    found: Owner[str] = Owner(directory, 0)
    yield found
    found.close()


@pytest.fixture
def queue(directory: Path) -> Iterator[Queue]:
    found = Queue(directory)
    yield found
    found.close()


def put(owner: Owner[str], asked: Sequences) -> int | None:
    return owner.put(Cut(asked, slice(None), asked.tokens), Stamp(1e9, 0.0, 0, 7, b""), "caller")


def lease(queue: Queue) -> Lease:
    found = queue.lease(0, Limits(10_000), 100.0)
    assert found is not None
    return found


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 20))
def test_a_cut_request_keeps_every_tile(counts: list[int], most: int) -> None:
    """Whatever a request is cut into, each of its sequences keeps its own tiles, and entries without images have none."""
    found: dict[int, list[int]] = {}
    asked = request(counts)
    for part in cut(asked, most):
        found |= tiles_by_number(part.sequences)
        assert asked.lengths[part.places].tolist() == part.sequences.lengths.tolist()
        assert part.sequences.tokens <= most or len(part.sequences.lengths) == 1
        assert part.cost == part.sequences.tokens
        assert (part.sequences.tiles is None) == (not any(tiles_by_number(part.sequences).values()))
    assert found == right(counts)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=4))
def test_halves_keep_every_tile(entries: list[list[int]]) -> None:
    """A pack cut in two, and in two again, loses and moves no tile."""
    asked = [request(counts, 10 * place) for place, counts in enumerate(entries)]
    whole = Pack(
        ids=np.concatenate([one.ids for one in asked]),
        lengths=np.concatenate([one.lengths for one in asked]),
        splits=np.concatenate([one.splits for one in asked]),
        entry_sequences=np.array([len(one.lengths) for one in asked], np.int32),
        entry_scores=np.array([one.scores for one in asked], np.int32),
        entry_shared=np.zeros(len(asked), np.bool_),
        tiles=tiles_module.join([(len(one.lengths), one.tiles) for one in asked]),
    )
    want = tiles_by_number(whole)
    waiting, found = [whole], {}
    while waiting:
        pack = waiting.pop()
        parts = halves(pack)
        if parts is None:
            found |= tiles_by_number(pack)
        else:
            waiting += parts
    assert found == want


def test_a_batch_mixes_images_and_text(owner: Owner[str], queue: Queue) -> None:
    """Entries with and without images in one batch come out of shared memory as they went in."""
    for number, counts in enumerate(([0, 2, 1], [0, 0], [3])):
        assert put(owner, request(counts, 10 * number)) is not None
    found = queue.pack(lease(queue))
    assert tiles_by_number(found) == right([0, 2, 1]) | right([0, 0], 10) | right([3], 20)


def test_text_alone_has_no_tiles(owner: Owner[str], queue: Queue) -> None:
    """A batch of text carries nothing of images, and its rows are of the old kind."""
    put(owner, request([0, 0]))
    assert queue.pack(lease(queue)).tiles is None
    assert (owner.arena.rows["kind"] != KIND_TILES).all()


def test_the_heap_is_whole_again_after_images(owner: Owner[str], queue: Queue) -> None:
    """Blocks of tiles are given back; while they are taken nothing more is put, and what never fits is refused by name."""
    rows = [put(owner, request([1])) for _ in range(5)]
    assert rows[-1] is None
    assert rows[:3] != [None] * 3
    taken = lease(queue)
    queue.complete(taken, np.zeros(taken.entries, np.float32), 0.1)
    assert len(owner.collect()) == taken.entries
    assert "Heap(0 of" in repr(owner)
    large = Tiles(np.array([HEAP // SIZE + 1], np.int32), np.zeros((HEAP // SIZE + 1, SIZE), np.uint8))
    with pytest.raises(TooLarge, match="RERANKER_IMAGE_QUEUE_BYTES"):
        put(owner, Sequences(np.ones(1, np.int32), np.ones(1, np.int32), np.zeros(1, np.int32), False, 1, large))


def test_a_successor_keeps_the_blocks_of_what_is_leased(queue: Queue, directory: Path) -> None:
    """A new owner does not hand out the blocks that a worker may still be reading."""
    before: Owner[str] = Owner(directory, 0)
    put(before, request([2]))
    held = lease(queue)
    before.close()
    after: Owner[str] = Owner(directory, 0)
    for number in range(3):
        put(after, request([1], number + 5))
    assert tiles_by_number(queue.pack(held)) == right([2])
    after.close()


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [-4, 0, 2**20 + 2, 2**31 - 4])
def test_spoilt_tiles_are_corrupt_and_nothing_else(owner: Owner[str], queue: Queue, place: int, value: int) -> None:
    """Numbers in shared memory that can't be true fail the entry, and are never used to read by."""
    row = put(owner, request([1]))
    assert row is not None
    fields = owner.arena.row(row)
    owner.arena.words[fields.offset // 4 + 2 + 1 + 1 + place] = value
    held = lease(queue)
    with pytest.raises(Corrupt):
        queue.pack(held)


def test_blocks_beyond_the_heap_fail_the_entry(owner: Owner[str], queue: Queue) -> None:
    """A row that claims more blocks than the heap has is not leased to a scorer."""
    row = put(owner, request([1]))
    owner.arena.rows["blocks"][row] = 60_000
    assert queue.lease(0, Limits(10_000), 100.0) is None
    assert [how.failure for _, how in owner.collect()] == [4]


def test_an_entry_is_bounded_by_what_seeing_costs_and_by_bytes() -> None:
    """Images count for more than their tokens, and no entry holds more tiles than its share of shared memory."""
    found = Tiles(np.array([1, 2, 0, 1], np.int32), np.zeros((4, SIZE), np.uint8), cost=10)
    asked = Sequences(np.ones(4, np.int32), np.ones(4, np.int32), np.zeros(4, np.int32), False, 4, found)
    assert [part.cost for part in cut(asked, 33)] == [33, 11]
    assert [part.cost for part in cut(asked, 100)] == [44]
    assert [part.sequences.scores for part in cut(asked, 100, max_pairs=3)] == [3, 1]
    large = Tiles(np.array([2, 2, 3], np.int32), np.zeros((7, MOST_TILE_BYTES // 4), np.uint8))
    asked = Sequences(np.ones(3, np.int32), np.ones(3, np.int32), np.zeros(3, np.int32), False, 3, large)
    assert [part.sequences.scores for part in cut(asked, 100)] == [2, 1]


def test_shape_has_room_for_images() -> None:
    """A queue's heap grows by the bytes that images may take."""
    plain = queue_shape(workers=1, owners=1, limit_tokens=4096, max_request_scores=10).arena.heap_bytes
    more = queue_shape(workers=1, owners=1, limit_tokens=4096, max_request_scores=10, image_bytes=1 << 20).arena.heap_bytes
    assert more - plain >= 1 << 20
    assert payload_bytes(1, 1, 1, 2) == 16 + 2 * BLOCK_BYTES

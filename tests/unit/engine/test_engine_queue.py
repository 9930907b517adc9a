"""The queue's rarer turns, one by one: late answers, corrupt rows, several arenas, what is refused at the start."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.arena_layout import ArenaShape
from batching.board import BoardShape
from batching.cut import Cut
from batching.errors import StartError, TooLarge
from batching.files import FileLock
from batching.lease import Corrupt, Lease
from batching.owner import Ended, Owner, Stamp
from batching.planner import Limits
from batching.queue import FAULT, KILL, Queue
from batching.queue_files import QueueShape, make_queue, queue_shape
from batching.states import LEASED, WAITING, Failure, State
from batching.types import Sequences
from tests.fakes import expected, known_scores, sequences

NOW, ALL = 100.0, Limits(10_000)
FIRST, SECOND, THIRD = sequences([[1, 2], [3]]), sequences([[4]]), sequences([[5, 6, 7], [8], [9]])


@pytest.fixture
def directory(short_path: Path) -> Path:
    make_queue(short_path / "q", QueueShape(BoardShape(2, 2, 10_000), ArenaShape(4, 4096)))
    return short_path / "q"


@pytest.fixture
def queue(directory: Path) -> Iterator[Queue]:
    found = Queue(directory)
    yield found
    found.close()


@pytest.fixture
def owner(directory: Path) -> Iterator[Owner[str]]:
    found: Owner[str] = Owner(directory, 0)
    yield found
    found.close()


def put(owner: Owner[str], request: Sequences, holder: str = "caller", *, tag: float = 0.0) -> int:
    row = owner.put(Cut(request, slice(None), request.tokens), Stamp(1e9, tag, 0, 7, holder.encode()), holder)
    assert row is not None
    return row


def leased(queue: Queue, worker: int = 0, limits: Limits = ALL) -> Lease:
    lease = queue.lease(worker, limits, NOW)
    assert lease is not None
    return lease


def complete(queue: Queue, lease: Lease) -> None:
    queue.complete(lease, known_scores(queue.pack(lease)), 0.5)


def answers(owner: Owner[str]) -> dict[str, Ended]:
    return dict(owner.collect())


def test_a_late_answer_is_not_the_next_entrys(owner: Owner[str], queue: Queue) -> None:
    """A worker believed dead answers when its row holds another entry by now, leased by another worker: nothing happens."""
    row = put(owner, FIRST)
    late = leased(queue)
    queue.reap(0)
    complete(queue, leased(queue, worker=1))
    owner.collect()
    assert put(owner, SECOND) == row
    again = leased(queue, worker=1)
    queue.complete(late, expected(FIRST), 0.5)
    assert queue.arenas[0].states[row] == LEASED
    complete(queue, again)
    np.testing.assert_array_equal(answers(owner)["caller"].scores, expected(SECOND))


def test_a_late_answer_counts_for_what_is_still_leased(owner: Owner[str], queue: Queue) -> None:
    """Of a lease that was reaped, only the entry that is leased again takes its scores, and no other's."""
    put(owner, FIRST, "a", tag=1), put(owner, SECOND, "b", tag=3), put(owner, THIRD, "c", tag=2)
    late = leased(queue)
    scores = known_scores(queue.pack(late))
    queue.reap(0)
    owner.cancel(0)
    leased(queue, worker=1, limits=Limits(1))
    queue.complete(late, scores, 0.5)
    found = answers(owner)
    assert set(found) == {"c"}
    np.testing.assert_array_equal(found["c"].scores, expected(THIRD))


WRONG = [(name, value) for name in ("offset", "sequences", "scores", "tokens") for value in (0, 3, 2**31, 2**32 - 1)]


@pytest.mark.parametrize(("field", "value"), [pair for pair in WRONG if pair not in {("offset", 0), ("tokens", 3)}])
def test_a_row_that_cannot_be_true_fails_alone(owner: Owner[str], queue: Queue, field: str, value: int) -> None:
    """What a row says of its payload is checked before it is read; the rest of the batch is scored."""
    bad = put(owner, FIRST, "bad")
    put(owner, THIRD, "good")
    queue.arenas[0].rows[field][bad] = value
    lease = queue.lease(0, ALL, NOW)
    while lease:
        try:
            complete(queue, lease)
        except Corrupt:
            (queue.fail(lease, Failure.CORRUPT) if lease.entries == 1 else queue.give_back(lease, suspect=True))
        lease = queue.lease(0, ALL, NOW)
    found = answers(owner)
    assert found["bad"].state is State.FAILED
    assert found["bad"].failure == Failure.CORRUPT
    np.testing.assert_array_equal(found["good"].scores, expected(THIRD))


@given(st.lists(st.integers(-5, 9), min_size=2, max_size=2))
def test_lengths_that_do_not_add_up_are_corrupt(lengths: list[int]) -> None:
    """Zero, negative or other lengths than were counted are never scored."""
    with tempfile.TemporaryDirectory(prefix="rr-") as name:
        make_queue(Path(name) / "q", QueueShape(BoardShape(1, 1, 1000), ArenaShape(2, 1024)))
        owner: Owner[str] = Owner(Path(name) / "q", 0)
        queue = Queue(Path(name) / "q")
        put(owner, FIRST)
        queue.arenas[0].words[:2] = lengths
        lease = leased(queue)
        if sum(lengths) == 3 and min(lengths) > 0:
            assert queue.pack(lease).lengths.tolist() == lengths
        else:
            with pytest.raises(Corrupt):
                queue.pack(lease)
        queue.close()
        owner.close()


def test_a_batch_spans_arenas(directory: Path, owner: Owner[str], queue: Queue) -> None:
    """Entries of several HTTP processes are scored together, and each gets its own scores back."""
    owners: list[Owner[str]] = [owner, Owner(directory, 1)]
    for tag, (index, request) in enumerate([(0, FIRST), (1, SECOND), (0, THIRD), (1, FIRST)]):
        put(owners[index], request, f"{index} {request.scores}", tag=tag)
    lease = leased(queue)
    assert lease.entries == 4
    complete(queue, lease)
    assert {name: ended.scores.tolist() for owner in owners for name, ended in answers(owner).items() if ended.scores is not None} == {
        "0 2": expected(FIRST).tolist(), "0 3": expected(THIRD).tolist(), "1 1": expected(SECOND).tolist(), "1 2": expected(FIRST).tolist()
    }  # fmt: skip
    owners[1].close()


def test_an_answer_carries_its_times(owner: Owner[str], queue: Queue) -> None:
    """Time in the queue, time and tokens of the batch."""
    put(owner, FIRST)
    put(owner, SECOND, "other")
    lease = queue.lease(0, ALL, float(queue.arenas[0].rows["put_at"][0]) + 0.25)
    assert lease
    complete(queue, lease)
    ended = answers(owner)["caller"]
    assert (ended.queue_s, ended.forward_s, ended.batch_tokens) == (0.25, 0.5, 4)


def test_a_suspect_that_kills_again_fails_and_others_do_not(owner: Owner[str], queue: Queue) -> None:
    """Two crashes on the device fail an entry; one that only waited for the device behind it is as good as new."""
    put(owner, FIRST, "poison")
    on_device = leased(queue)
    queue.start(on_device)
    put(owner, SECOND, "behind", tag=1)
    leased(queue)
    assert queue.reap(0) == 2
    assert queue.arenas[0].rows["attempts"][:2].tolist() == [FAULT, 0]
    alone = leased(queue)
    assert alone.suspect
    assert alone.entries == 1
    queue.start(alone)
    assert queue.reap(0) == 1
    complete(queue, leased(queue))
    found = answers(owner)
    assert found["poison"].failure == Failure.WORKER_LOST
    assert found["behind"].state is State.DONE


@pytest.mark.parametrize(("blames", "fails"), [([KILL] * 3, False), ([KILL] * 4, True), ([FAULT, KILL], False), ([FAULT, FAULT], True)])
def test_kills_from_outside_speak_less_against_an_entry(owner: Owner[str], queue: Queue, blames: list[int], fails: bool) -> None:
    """Two crashes with it on the device fail an entry; kills from outside only when there are too many for chance."""
    put(owner, FIRST)
    for blame in blames:
        queue.start(leased(queue))
        assert queue.reap(0, blame=blame) == 1
    if not fails:
        complete(queue, leased(queue))
    assert answers(owner)["caller"].state is (State.FAILED if fails else State.DONE)


def test_a_reaper_does_not_wait(owner: Owner[str], queue: Queue, directory: Path) -> None:
    """While somebody else holds the claim nothing is reaped, dropped or leased, and nobody waits for long; later all of it is done."""
    put(owner, FIRST)
    leased(queue)
    put(owner, SECOND)
    owner.cancel(1)
    holder = FileLock(directory / "claim")
    assert holder.try_acquire()
    began = time.monotonic()
    assert queue.reap(0) is None
    assert queue.drop_unwanted(NOW) == 0
    assert queue.lease(1, ALL, NOW) is None
    assert time.monotonic() - began < 1.0
    holder.close()
    assert queue.reap(0) == 1
    assert queue.drop_unwanted(NOW) == 1


def test_a_reaper_takes_only_the_dead_workers_leases(owner: Owner[str], queue: Queue) -> None:
    """What another worker has leased stays leased."""
    put(owner, FIRST), put(owner, SECOND)
    leased(queue, 0, Limits(3)), leased(queue, 1, Limits(3))
    assert queue.reap(0) == 1
    assert sorted(queue.arenas[0].states[:2].tolist()) == [WAITING, LEASED]
    assert queue.reap(0) == 0


def test_an_entry_that_could_never_fit_is_refused(owner: Owner[str]) -> None:
    """More than the whole heap: TooLarge with the setting; one that fits later: None."""
    huge = sequences([[1] * 2000])
    with pytest.raises(TooLarge, match="RERANKER_QUEUE_TOKENS"):
        owner.put(Cut(huge, slice(None), 2000), Stamp(1e9, 0, 0, 1, b""), "caller")
    large = sequences([[1] * 900])
    put(owner, large)
    assert owner.put(Cut(large, slice(None), 900), Stamp(1e9, 0, 0, 1, b""), "caller") is None


def test_rows_run_out_and_come_back(owner: Owner[str], queue: Queue) -> None:
    """As many entries as rows, then None; after one was answered, its row is used again."""
    rows = [put(owner, SECOND, str(number)) for number in range(4)]
    assert sorted(rows) == [0, 1, 2, 3]
    assert owner.put(Cut(SECOND, slice(None), 1), Stamp(1e9, 0, 0, 1, b""), "more") is None
    complete(queue, leased(queue, limits=Limits(1)))
    owner.collect()
    put(owner, SECOND, "more")


def test_a_queue_is_made_once_and_in_short_places(directory: Path, tmp_path: Path) -> None:
    """A path too long for sockets, or a directory that is there, is refused before anything is made."""
    shape = queue_shape(workers=1, owners=1, limit_tokens=1024, max_request_scores=10)
    with pytest.raises(FileExistsError):
        make_queue(directory, shape)
    with pytest.raises(StartError, match="RERANKER_RUNTIME_DIR"):
        make_queue(tmp_path / ("x" * 100), shape)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1024, 1 << 30), st.integers(1, 10**6))
def test_the_arena_holds_what_admission_lets_in(limit_tokens: int, max_scores: int) -> None:
    """A request of the largest size, in one entry or in many, fits the heap of any one owner."""
    shape = queue_shape(workers=1, owners=1, limit_tokens=limit_tokens, max_request_scores=max_scores).arena
    assert shape.heap_bytes % 4096 == 0
    assert shape.heap_bytes >= 4 * (limit_tokens + 3 * max_scores)
    assert 1024 <= shape.rows <= 16384

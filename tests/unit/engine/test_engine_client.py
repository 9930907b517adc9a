"""The HTTP process's end of the queue, on an event loop, with a worker in a thread: one answer for each request, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from batching.arena_layout import ArenaShape
from batching.board import Board, BoardShape
from batching.client import QueueClient
from batching.errors import Expired, Overloaded, RerankdError, ScoringFailed, StartError, TooLarge, Unavailable
from batching.planner import MOST_PRIORITY
from batching.queue import Queue
from batching.queue_files import QueueShape, make_queue
from batching.types import Sequences
from batching.worker_view import WorkerState
from tests.fakes import POISON, expected, inline_worker, sequences

MANY = [
    sequences([[one, two, 7] * (1 + two % 3) for two in range(1, 2 + one % 5)], shared=one % 4 == 3 and one % 5 > 0) for one in range(1, 60)
]
LARGE = sequences([[number % 90 + 1] * 30 for number in range(200)])


@pytest.fixture
def directory(short_path: Path) -> Path:
    make_queue(short_path / "q", QueueShape(BoardShape(2, 2, 100_000), ArenaShape(16, 64 * 1024)))
    return short_path / "q"


def run(directory: Path, test: Callable[[QueueClient], Awaitable[None]]) -> None:
    """Run `test` with an open client; afterwards nothing of it may be in use."""

    async def main() -> None:
        async with client(directory) as one:
            await test(one)
            assert one._jobs == set()

    asyncio.run(main())


@contextlib.asynccontextmanager
async def client(directory: Path, index: int = 0) -> AsyncIterator[QueueClient]:
    one = await QueueClient.open(directory, index)
    try:
        yield one
    finally:
        await one.close()


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


async def right(one: QueueClient, request: Sequences) -> None:
    """The request's own scores come back."""
    np.testing.assert_array_equal((await one.score(request, deadline=soon())).raw, expected(request))


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


def test_every_request_gets_its_own_scores(directory: Path) -> None:
    """Many at once of all shapes, small and cut into many entries, through fewer rows than there are requests."""

    async def test(one: QueueClient) -> None:
        await asyncio.gather(*(right(one, request) for request in [*MANY, LARGE, *MANY, LARGE]))
        assert one.view().leased_entries == one.view().waiting_entries == one.view().reserved_tokens == 0

    with inline_worker(directory, budget_tokens=1024):
        run(directory, test)


def test_several_http_processes_and_workers(directory: Path) -> None:
    """Two owners and two workers on one queue mix nothing up."""

    async def main() -> None:
        async with client(directory, 0) as first, client(directory, 1) as second:
            await asyncio.gather(*(right(one, request) for one in (first, second) for request in [*MANY, LARGE]))

    with inline_worker(directory, slot=0), inline_worker(directory, slot=1):
        asyncio.run(main())


def test_an_answer_says_how_long_it_took(directory: Path) -> None:
    """Time in the queue and on the device, entries and tokens of the batch; no worker is there for the first 0.02 s, so that the wait is no matter of luck."""

    async def test(one: QueueClient) -> None:
        task = asyncio.ensure_future(one.score(LARGE, deadline=soon()))
        await until(lambda: one.view().waiting_entries > 1)
        await asyncio.sleep(0.02)
        with inline_worker(directory, budget_tokens=2048, seconds_per_batch=0.02):
            scored = await task
        assert scored.entries > 1
        assert 0.02 <= scored.forward_s < 5.0
        assert 0.02 <= scored.queue_s < 5.0
        assert 0 < scored.batch_tokens <= 2048

    run(directory, test)


def test_a_request_without_scores_is_answered_at_once(directory: Path) -> None:
    """Nothing is put, and no worker is needed."""

    async def test(one: QueueClient) -> None:
        assert (await one.score(sequences([[1]], shared=True), deadline=soon())).raw.size == 0

    run(directory, test)


def test_a_deadline_is_kept_without_any_worker(directory: Path) -> None:
    """Nobody scores: Expired soon after the deadline, also for what still waits for room; the rows are dropped and used again."""

    async def test(one: QueueClient) -> None:
        began = time.monotonic()
        found = await asyncio.gather(*(one.score(request, deadline=soon(0.2)) for request in [LARGE, LARGE, *MANY]), return_exceptions=True)
        assert all(isinstance(error, Expired) for error in found)
        assert 0.2 <= time.monotonic() - began < 1.0
        with inline_worker(directory):
            await right(one, LARGE)

    run(directory, test)


def test_a_caller_that_goes_away_frees_its_rows(directory: Path) -> None:
    """Of a cancelled request nothing is scored that was not leased, and its rows come back."""

    async def test(one: QueueClient) -> None:
        task = asyncio.ensure_future(one.score(LARGE, deadline=soon()))
        await until(lambda: one.view().waiting_entries > 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with inline_worker(directory):
            await right(one, MANY[0])
            await until(lambda: one.view().waiting_entries == 0)
        assert Board(directory / "board").workers()[0].pairs == MANY[0].scores

    run(directory, test)


def test_those_who_wait_for_room_are_let_in_when_others_go_away(directory: Path) -> None:
    """Rows that come free because their caller left serve those who wait, though nobody is told of an answer."""

    async def test(one: QueueClient) -> None:
        tasks = [asyncio.ensure_future(one.score(LARGE, deadline=soon())) for _ in range(3)]
        await until(lambda: one.view().waiting_entries == 16)
        late = asyncio.ensure_future(one.score(MANY[0], deadline=soon()))
        await asyncio.sleep(0.02)
        with inline_worker(directory, mode="hang", seconds_per_batch=0.1):
            for task in tasks:
                task.cancel()
            await asyncio.wait_for(late, 3.0)

    run(directory, test)


def test_rows_freed_for_nobody_let_others_in(directory: Path) -> None:
    """While one entry stays leased for long, the rows of cancelled ones are given to who waits, at once."""

    async def test(one: QueueClient) -> None:
        with inline_worker(directory, seconds_per_batch=1.5, budget_tokens=256):
            slow = asyncio.ensure_future(one.score(sequences([[5] * 250]), deadline=soon()))
            await until(lambda: one.view().leased_entries == 1)
            crowd = [asyncio.ensure_future(one.score(sequences([[9] * 250]), deadline=soon())) for _ in range(15)]
            await until(lambda: one.view().waiting_entries + one.view().leased_entries == 16)
            waiting = asyncio.ensure_future(one.score(sequences([[6]]), deadline=soon()))
            await asyncio.sleep(0.05)
            for task in crowd:
                task.cancel()
            await asyncio.gather(*crowd, return_exceptions=True)
            drop_unwanted(directory)
            await until(lambda: one.view().waiting_entries == 1, 1.0)
            assert not slow.done()
            waiting.cancel(), slow.cancel()
            await asyncio.gather(waiting, slow, return_exceptions=True)

    run(directory, test)


def test_a_large_entry_finds_room_among_small_ones_that_keep_coming(directory: Path, short_path: Path) -> None:
    """Half of the arena in one piece, while twelve callers take every small piece that comes free."""
    make_queue(short_path / "small", QueueShape(BoardShape(1, 1, 1_000_000), ArenaShape(1024, 16 * 1024)))
    small, large = sequences([[1] * 240]), sequences([[1] * 2000])
    answered: list[int] = []

    async def caller(one: QueueClient) -> None:
        while not answered:
            await one.score(small, deadline=soon())

    async def test(one: QueueClient) -> None:
        with inline_worker(short_path / "small", seconds_per_batch=0.005, budget_tokens=480):
            callers = [asyncio.ensure_future(caller(one)) for _ in range(12)]
            await asyncio.sleep(0.1)
            await one.score(large, deadline=soon(4.0))
            answered.append(1)
            await asyncio.gather(*callers)

    run(short_path / "small", test)


def test_no_priority_moves_virtual_time_out_of_reach(directory: Path) -> None:
    """Someone's time stamp as a priority weighs no more than the most that there is; who comes later is told apart as ever."""

    async def test(one: QueueClient) -> None:
        with inline_worker(directory, budget_tokens=16):
            await one.score(sequences([[1] * 16] * 20), deadline=soon(), priority=2**31 - 1)
        assert Board(directory / "board").virtual_time <= 20 * 16 * (2 + MOST_PRIORITY)

    run(directory, test)


def drop_unwanted(directory: Path) -> None:
    """Drop what nobody waits for, as any other worker would."""
    queue = Queue(directory)
    queue.drop_unwanted(time.monotonic())
    queue.close()


def test_closing_answers_everyone(directory: Path) -> None:
    """Requests under way and those that wait for room end as Unavailable, with nothing raised besides."""
    answers: list[object] = []

    async def ask(one: QueueClient, request: Sequences) -> None:
        try:
            with one.reserve(request.tokens):
                await one.score(request, deadline=soon())
        except RerankdError as error:
            answers.append(type(error))

    async def main() -> None:
        Board(directory / "board").slots["state"][0] = WorkerState.READY
        one = await QueueClient.open(directory, 0)
        tasks = [asyncio.ensure_future(ask(one, request)) for request in [*MANY[:5], LARGE, *MANY[5:], LARGE]]
        await until(lambda: one.view().waiting_entries == 16)
        await one.close()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert answers == [Unavailable] * (len(MANY) + 2)


def test_a_successor_finds_the_arena_in_order(directory: Path) -> None:
    """After an owner went with requests under way, its successor answers new ones, and nothing of the old is scored."""

    async def main() -> None:
        one = await QueueClient.open(directory, 0)
        task = asyncio.ensure_future(one.score(LARGE, deadline=soon()))
        await until(lambda: one.view().waiting_entries == 16)
        await one.close()
        with pytest.raises(Unavailable):
            await task
        async with client(directory) as successor:
            with inline_worker(directory):
                await asyncio.gather(*(right(successor, request) for request in MANY))
        assert Board(directory / "board").workers()[0].pairs == sum(request.scores for request in MANY)

    asyncio.run(main())


def test_an_arena_has_one_owner(directory: Path) -> None:
    """A second client of one arena is refused while the first is open."""

    async def test(_: QueueClient) -> None:
        with pytest.raises(StartError, match="has an owner already"):
            await QueueClient.open(directory, 0)

    run(directory, test)


def test_without_any_hope_nobody_waits(directory: Path) -> None:
    """When every worker was given up, what is under way ends within moments, long before its deadline."""

    async def test(one: QueueClient) -> None:
        tasks = [asyncio.ensure_future(one.score(request, deadline=soon(3600))) for request in [LARGE, LARGE, *MANY]]
        await asyncio.sleep(0.05)
        Board(directory / "board").slots["state"] = WorkerState.FAILED
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0)
        assert {type(error) for error in found} == {Unavailable}

    run(directory, test)


def test_one_bad_pair_fails_its_request_only(directory: Path) -> None:
    """The rest of a request whose entry failed is not scored for nothing; other requests are."""

    async def test(one: QueueClient) -> None:
        poisoned = one.score(sequences([[POISON, 1], [2]]), deadline=soon())
        found = await asyncio.gather(poisoned, *(right(one, request) for request in MANY), return_exceptions=True)
        assert isinstance(found[0], ScoringFailed)
        assert found[1:] == [None] * len(MANY)

    with inline_worker(directory, mode="raise"):
        run(directory, test)


def test_a_pair_larger_than_the_heap_is_too_large(directory: Path) -> None:
    """It could never be put: 413 and not a wait for ever."""

    async def test(one: QueueClient) -> None:
        with pytest.raises(TooLarge, match="RERANKER_QUEUE_TOKENS"):
            await one.score(sequences([[1] * 20_000]), deadline=soon())

    run(directory, test)


def test_a_view_counts_what_there_is(directory: Path) -> None:
    """Waiting tokens and entries, the oldest wait and reservations, over all owners."""

    async def main() -> None:
        Board(directory / "board").slots["state"][0] = WorkerState.READY
        async with client(directory, 0) as first, client(directory, 1) as second:
            tasks = [asyncio.ensure_future(one.score(sequences([[1] * 10]), deadline=soon())) for one in (first, second)]
            with first.reserve(123), second.reserve(77):
                await asyncio.sleep(0.05)
                view = first.view()
                assert (view.waiting_entries, view.waiting_tokens, view.reserved_tokens, view.limit_tokens) == (2, 20, 200, 100_000)
                assert 0.02 < view.oldest_wait_s < 2.0
                with pytest.raises(Overloaded):
                    second.reserve(99_900)
            for task in tasks:
                task.cancel()

    asyncio.run(main())

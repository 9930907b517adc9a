"""Admission: whole requests, atomically over all HTTP processes, refused for the right reason and released on every path."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching import admission
from batching.admission import MAX_RETRY_S, MIN_RETRY_S, RATE_STEP_S, Admission, Reservation, believable_rate, wait_s
from batching.arena import Arena
from batching.board import Board
from batching.errors import Expired, Overloaded, TooLarge, Unavailable
from batching.queue_files import make_queue, queue_shape
from batching.worker_view import WorkerState

LIMIT = 1000


@pytest.fixture
def directory(short_path: Path) -> Path:
    make_queue(short_path / "q", queue_shape(workers=2, owners=3, limit_tokens=LIMIT, max_request_scores=10))
    board = Board(short_path / "q" / "board")
    board.slots["state"] = WorkerState.READY
    board.close()
    return short_path / "q"


def owner(directory: Path, index: int) -> Admission:
    """Admission as HTTP process `index` has it."""
    return Admission(directory, Board(directory / "board"), [Arena(directory / f"arena.{other}") for other in range(3)], index)


def reserved(directory: Path) -> list[tuple[int, int]]:
    """Every owner's tokens and requests."""
    arenas = [Arena(directory / f"arena.{index}") for index in range(3)]
    return [(arena.reserved_tokens, arena.reserved_requests) for arena in arenas]


def worked(directory: Path, tokens: int, busy_s: float, wait_s: float = 1.5 * RATE_STEP_S) -> None:
    """A worker has scored so many tokens in so many seconds, and it is time for the rate to be measured again."""
    slots = Board(directory / "board").slots
    slots["tokens"][0] += tokens
    slots["busy_s"][0] += busy_s
    time.sleep(wait_s)


def test_the_limit_counts_all_owners(directory: Path) -> None:
    """What one has reserved is not there for another; the last token is; a release is seen at once."""
    first, second = owner(directory, 0), owner(directory, 2)
    with first.reserve(600):
        with second.reserve(400), pytest.raises(Overloaded, match="1,000 of 1,000"):
            first.reserve(1)
        with second.reserve(400):
            assert reserved(directory) == [(600, 1), (0, 0), (400, 1)]
    assert reserved(directory) == [(0, 0)] * 3


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, GeneratorExit])
def test_it_is_released_whatever_happens(directory: Path, error: type[BaseException] | None) -> None:
    """An exception of any kind leaves nothing reserved, before and after the tokens were counted."""
    one = owner(directory, 1)
    for adjusted in (False, True):
        with contextlib.suppress(*([error] if error else [])), one.reserve(100) as reservation:
            if adjusted:
                reservation.adjust(77)
            assert reserved(directory)[1] == (77 if adjusted else 100, 1)
            if error:
                raise error
        assert reserved(directory)[1] == (0, 0)


def test_the_count_replaces_the_estimate(directory: Path) -> None:
    """A request that turns out longer stays admitted beside others and counts in full; one that is shorter makes room."""
    one, other = owner(directory, 0), owner(directory, 1)
    with one.reserve(500) as reservation:
        with other.reserve(500):
            reservation.adjust(LIMIT)
        with pytest.raises(Overloaded):
            other.reserve(1)
        reservation.adjust(300)
        with other.reserve(700):
            pass


def test_what_could_never_fit_is_too_large(directory: Path) -> None:
    """More than the whole queue is 413 with the setting, not 429 for ever, even while the queue is full."""
    one = owner(directory, 0)
    with one.reserve(LIMIT), pytest.raises(TooLarge, match=r"1,001 tokens .*1,000.*RERANKER_QUEUE_TOKENS"):
        one.reserve(LIMIT + 1)


def test_a_count_that_could_never_fit_is_too_large(directory: Path) -> None:
    """What turns out to be more than the whole queue is refused like what was known to be, and leaves nothing reserved."""
    one = owner(directory, 0)
    with pytest.raises(TooLarge, match=r"1,001 tokens .*1,000.*RERANKER_QUEUE_TOKENS"), one.reserve(500) as reservation:
        reservation.adjust(LIMIT + 1)
    assert reserved(directory) == [(0, 0)] * 3


def test_no_two_owners_get_the_last_room(directory: Path) -> None:
    """Many threads of several owners, all at once: the sum never passes the limit, and nothing is left at the end."""
    over, admitted = [], []
    arenas = [Arena(directory / f"arena.{index}") for index in range(3)]

    def ask(index: int) -> None:
        mine = owner(directory, index)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            try:
                with mine.reserve(350):
                    admitted.append(index)
                    total = sum(arena.reserved_tokens for arena in arenas)
                    if total > LIMIT:
                        over.append(total)
            except Overloaded:
                continue

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(admitted) == {0, 1, 2}
    assert not over
    assert reserved(directory) == [(0, 0)] * 3


def test_retry_after_is_the_measured_time_for_the_excess(directory: Path) -> None:
    """At 2,000 tokens a busy second and two ready workers, 400 tokens too many are 0.1 s; without a measurement it is a second."""
    one = owner(directory, 0)
    with one.reserve(LIMIT):
        with pytest.raises(Overloaded) as refused:
            one.reserve(400)
        assert refused.value.retry_after_s == 1.0
        worked(directory, 2000, 1.0)
        with pytest.raises(Overloaded) as refused:
            one.reserve(400)
        assert refused.value.retry_after_s == pytest.approx(0.1)


def test_retry_after_is_bounded(directory: Path) -> None:
    """Neither a busy loop nor an eternity is asked for."""
    one = owner(directory, 0)
    worked(directory, 1, 100.0)
    assert one.retry_after_s(10**9) == MAX_RETRY_S
    worked(directory, 10**9, 1.0)
    assert owner(directory, 0).retry_after_s(1) == MIN_RETRY_S


def test_the_rate_is_of_the_last_seconds(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that became slow is believed to be slow before long."""
    clock = [100.0]
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=time.sleep))
    one = owner(directory, 0)
    worked(directory, 100_000, 10.0)
    assert one.drain_tokens_per_s() == pytest.approx(20_000)
    for _ in range(60):
        clock[0] += 0.5
        worked(directory, 50, 0.5, wait_s=0.0)
        rate = one.drain_tokens_per_s()
    assert rate == pytest.approx(200)


def test_slow_batches_do_not_refuse_requests_for_ever(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the rate of batches that stalled every deadline is hopeless; when nothing was scored for a while, the rate is unknown again."""
    clock = [100.0]
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=time.sleep))
    one = owner(directory, 0)
    with one.reserve(500, clock[0] + 60):
        pass
    for _ in range(2):
        worked(directory, 500, 100.0, wait_s=0.0)
        clock[0] += 1.0
        one.drain_tokens_per_s()
    refused = 0
    for _ in range(30):
        clock[0] += 1.0
        try:
            with one.reserve(900, clock[0] + 60):
                break
        except Expired:
            refused += 1
    assert 1 <= refused < 15


@pytest.mark.parametrize("known", [True, False], ids=["after others", "the first"])
def test_a_batch_that_stalled_refuses_nobody(directory: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """A worker that was stopped in a batch for half a minute is no slow one: what was known of it stands, and then the next batch counts."""
    clock = [100.0]
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=time.sleep))
    one = owner(directory, 0)
    one.drain_tokens_per_s()
    for tokens, busy_s in [(20_000, 2.0)] * known + [(500, 30.0)]:
        worked(directory, tokens, busy_s, wait_s=0.0)
        clock[0] += busy_s
        rate = one.drain_tokens_per_s()
    assert rate == pytest.approx(20_000 if known else 0)
    with one.reserve(900, clock[0] + 20):
        pass
    clock[0] += 0.5
    worked(directory, 2_000, 0.5, wait_s=0.0)
    assert one.drain_tokens_per_s() == pytest.approx(8_000)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(1e-3, 1e3)), min_size=1, max_size=20), st.floats(0, 1e6))
def test_a_believable_rate_is_that_of_some_looks(steps: list[tuple[int, float]], known: float) -> None:
    """It lies between the rates that were seen, never below that of all together, or is what was known."""
    rates, found = [tokens / busy_s for tokens, busy_s in steps], believable_rate(steps, known)
    if len(steps) == 1:
        assert found in (rates[0], known)
    else:
        assert found <= max(rates) * (1 + 1e-6)
        assert found >= sum(tokens for tokens, _ in steps) / sum(busy_s for _, busy_s in steps) * (1 - 1e-6)


def test_what_a_peer_writes_over_the_sums_is_corrected(directory: Path) -> None:
    """The owner knows what it has reserved, and says so again with the next change."""
    one = owner(directory, 0)
    with one.reserve(300):
        Arena(directory / "arena.0").reserved_tokens = 1 << 60
        with pytest.raises(Overloaded):
            one.reserve(1)
    assert reserved(directory)[0] == (0, 0)


@pytest.mark.parametrize(
    ("states", "forward_ended", "answer"),
    [
        ((WorkerState.READY, WorkerState.FAILED), 0.0, None),
        ((WorkerState.STARTING, WorkerState.FAILED), 1.0, None),
        ((WorkerState.DRAINING, WorkerState.FAILED), 1.0, None),
        ((WorkerState.EMPTY, WorkerState.FAILED), 1.0, None),
        ((WorkerState.STARTING, WorkerState.STARTING), 0.0, "still loading"),
        ((WorkerState.EMPTY, WorkerState.EMPTY), 0.0, "still loading"),
        ((WorkerState.FAILED, WorkerState.STARTING), 0.0, "still loading"),
        ((WorkerState.FAILED, WorkerState.FAILED), 5.0, "no worker is up: the weights are gone"),
    ],
)
def test_without_a_worker_nothing_is_accepted(
    directory: Path, states: tuple[WorkerState, ...], forward_ended: float, answer: str | None
) -> None:
    """A worker that is ready, or comes back after a crash, is reason to accept; one that never was is not, and the reason is told."""
    slots = Board(directory / "board").slots
    slots["state"], slots["forward_ended"], slots["reason"] = states, forward_ended, b"the weights are gone"
    if answer is None:
        with owner(directory, 0).reserve(10):
            return
    with pytest.raises(Unavailable, match=answer) as refused:
        owner(directory, 0).reserve(10)
    assert refused.value.retry_after_s > 0
    assert reserved(directory) == [(0, 0)] * 3


def test_a_deadline_that_cannot_be_met_is_refused_at_once(directory: Path) -> None:
    """Alone it would take too long: 504 now. Behind others it would: 429, with the time until it might. Before any measurement: taken."""
    one, now = owner(directory, 0), time.monotonic()
    with one.reserve(900, now + 0.001):
        pass
    worked(directory, 500, 1.0)
    now = time.monotonic()
    with pytest.raises(Expired, match="1,000 a second"):
        one.reserve(900, now + 0.5)
    with one.reserve(500, now + 60.0):
        with pytest.raises(Overloaded) as refused:
            one.reserve(400, now + 0.5)
        assert 0.0 < refused.value.retry_after_s < 0.5
        with one.reserve(400, now + 5.0):
            pass
    assert reserved(directory) == [(0, 0)] * 3


def test_a_rate_of_small_batches_refuses_no_large_request(directory: Path) -> None:
    """Batches that leave most of the budget empty are slow by the token; a request that would fill it is judged by such as fill it."""
    slots = Board(directory / "board").slots
    slots["budget_tokens"] = 800
    one = owner(directory, 0)
    one.drain_tokens_per_s()
    slots["batches"][0] += 20
    worked(directory, 500, 1.0)
    now = time.monotonic()
    with one.reserve(900, now + 0.5):
        pass
    with pytest.raises(Expired, match="1,000 a second"):
        one.reserve(90, now + 0.05)
    slots["batches"][0] += 2
    worked(directory, 5000, 5.0)
    with pytest.raises(Expired, match="a second"):
        one.reserve(900, time.monotonic() + 0.3)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 100), st.floats(0, 1e6))
def test_the_estimated_wait_is_fair(tokens: int, backlog: int, requests: int, rate: float) -> None:
    """At least the request's own time, at most the whole backlog's, and nothing while no rate is known."""
    found = wait_s(tokens, backlog, requests, rate)
    if not rate:
        assert found == 0.0
    else:
        assert tokens / rate <= found <= (tokens + backlog) / rate


def test_a_busy_lock_is_not_waited_for(directory: Path) -> None:
    """Somebody stopped while it held the lock: others are refused within moments, and may come again soon."""
    one, stuck = owner(directory, 0), owner(directory, 1)
    assert stuck._lock.try_acquire()
    began = time.monotonic()
    with pytest.raises(Overloaded, match="busy"):
        one.reserve(1)
    assert time.monotonic() - began < 1.0
    stuck._lock.release()
    with one.reserve(1):
        pass


def test_a_release_after_the_end_is_harmless(directory: Path) -> None:
    """A request that outlives the queue's closing releases nothing and breaks nothing."""
    board = Board(directory / "board")
    arenas = [Arena(directory / f"arena.{index}") for index in range(3)]
    one = Admission(directory, board, arenas, 0)
    reservation: Reservation = one.reserve(10)
    one.close()
    for arena in arenas:
        arena.close()
    board.close()
    with reservation:
        reservation.adjust(20)

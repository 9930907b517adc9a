"""A worker's loop, in a thread: what it does about errors, memory and its own end."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from batching import worker as worker_module
from batching.arena_layout import ArenaShape
from batching.board import Board, BoardShape
from batching.budget import RECOVER_AFTER
from batching.cut import Cut
from batching.owner import Ended, Owner, Stamp
from batching.queue_files import QueueShape, make_queue
from batching.states import Failure, State
from batching.types import Sequences
from batching.worker import load
from batching.worker_view import WorkerView
from tests.fakes import POISON, expected, inline_worker, sequences

GOOD = [sequences([[number, 2], [number, 3, 4]]) for number in range(1, 9)]
BAD = sequences([[POISON], [5, 6]])


class Site:
    """A queue with one owner, and what came back so far."""

    def __init__(self, directory: Path) -> None:
        make_queue(directory, QueueShape(BoardShape(2, 1, 100_000), ArenaShape(512, 1 << 20)))
        self.directory, self.board, self.owner = directory, Board(directory / "board"), Owner[int](directory, 0)
        self.answers: dict[int, Ended] = {}

    def put(self, *requests: Sequences) -> None:
        self.put_at_cost(0, *requests)

    def put_at_cost(self, cost: int, *requests: Sequences) -> None:
        """Put them as if each cost so many tokens; 0: its own."""
        for number, request in enumerate(requests):
            stamp = Stamp(time.monotonic() + 60, float(number), 0, number, b"")
            assert self.owner.put(Cut(request, slice(None), cost or request.tokens), stamp, number) is not None

    def wait(self, until: Callable[[], bool], limit_s: float = 10.0) -> None:
        end = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < end, "it did not happen in time"
            self.answers |= dict(self.owner.collect())
            time.sleep(0.002)

    def answered(self, *requests: Sequences) -> dict[int, Ended]:
        """Put them and wait for all their answers."""
        self.answers = {}
        self.put(*requests)
        self.wait(lambda: len(self.answers) == len(requests))
        return self.answers

    @property
    def worker(self) -> WorkerView:
        return self.board.workers()[0]


@pytest.fixture
def site(short_path: Path) -> Iterator[Site]:
    found = Site(short_path / "q")
    yield found
    found.owner.close()
    found.board.close()


def right(answers: dict[int, Ended], requests: list[Sequences]) -> None:
    """Each request has its own scores."""
    for number, request in enumerate(requests):
        np.testing.assert_array_equal(answers[number].scores, expected(request))


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("budget", [6, 1000])
def test_every_request_gets_its_own_scores(site: Site, depth: int, budget: int) -> None:
    """In one batch or in many, one or two at a time on the device."""
    with inline_worker(site.directory, depth=depth, budget_tokens=budget, seconds_per_batch=0.005):
        right(site.answered(*GOOD), GOOD)
    assert site.worker.pairs == 16
    assert site.worker.state == "empty"


def test_a_pair_that_raises_fails_alone(site: Site) -> None:
    """The rest of its batch is scored; the worker goes on and counts a failure."""
    with inline_worker(site.directory, mode="raise"):
        answers = site.answered(*GOOD, BAD)
        right(answers, GOOD)
        assert answers[len(GOOD)].failure == Failure.SCORING
        right(site.answered(*GOOD), GOOD)
    assert site.worker.failures >= 1


@pytest.mark.parametrize("options", [{"mode": "raise"}, {"memory_tokens": 1}])
def test_a_worker_is_not_stuck_after_a_batch_that_failed(site: Site, options: dict[str, object]) -> None:
    """Once a launch has failed no forward is under way: an idle worker must not look as if it hung."""
    with inline_worker(site.directory, **options):
        site.answered(BAD)
        site.wait(lambda: site.worker.idle)
        assert site.worker.forward_running_s == 0.0


def test_a_wrong_number_of_scores_fails_the_batch(site: Site) -> None:
    """Scores that can't be matched to pairs are given to nobody."""
    with inline_worker(site.directory, mode="short"):
        answers = site.answered(*GOOD, BAD)
        right(answers, GOOD)
        assert answers[len(GOOD)].failure == Failure.SCORING


def test_nan_stays_with_its_document(site: Site) -> None:
    """The score that is no number is handed on; those beside it are right, and it is counted."""
    with inline_worker(site.directory, mode="nan"):
        answers = site.answered(*GOOD, BAD)
    right(answers, GOOD)
    assert np.isnan(answers[len(GOOD)].scores).tolist() == [True, False]
    assert site.worker.nan_scores == 1


def test_memory_that_does_not_hold_a_batch(site: Site) -> None:
    """The batch is scored in halves, the budget shrinks and is told to everyone; later batches fit."""
    with inline_worker(site.directory, memory_tokens=12, budget_tokens=1000):
        right(site.answered(*GOOD), GOOD)
        times = site.worker.out_of_memory
        assert times >= 1
        assert site.worker.budget_tokens <= 12
        right(site.answered(*GOOD), GOOD)
        assert site.worker.out_of_memory == times


def test_a_single_pair_over_memory_fails_alone(site: Site) -> None:
    """What can't be halved any more fails; everything else of its batch and of its request's neighbours is scored."""
    long = sequences([[7] * 40])
    with inline_worker(site.directory, memory_tokens=20):
        answers = site.answered(*GOOD, long)
    right(answers, GOOD)
    assert answers[len(GOOD)].failure == Failure.OUT_OF_MEMORY


def test_the_budget_recovers(site: Site) -> None:
    """After enough nearly full batches that fitted it grows again, as the board says."""
    with inline_worker(site.directory, budget_tokens=100, memory_tokens=90) as worker:
        site.answered(*[sequences([[1] * 19, [2]])] * 5)
        lowered = site.worker.budget_tokens
        assert lowered <= 50
        worker._scorer.memory_tokens = 0
        for _ in range(2 * RECOVER_AFTER):
            site.answered(sequences([[1] * site.worker.budget_tokens]))
        assert site.worker.budget_tokens > lowered


def test_the_budget_counts_what_was_planned(site: Site) -> None:
    """Where a model pads, batches are planned by padded tokens: one that is full of them is a full one, however few real ones it has."""
    with inline_worker(site.directory, budget_tokens=100, memory_tokens=30):
        site.put_at_cost(80, sequences([[1] * 20, [2] * 20]))
        site.wait(lambda: len(site.answers) == 1)
        assert site.worker.budget_tokens == 40


def test_a_stop_finishes_what_is_leased(site: Site) -> None:
    """What a worker has taken it completes; what it has not stays for others."""
    site.put(*GOOD)
    with inline_worker(site.directory, budget_tokens=10, seconds_per_batch=0.05):
        site.wait(lambda: site.worker.batches >= 1)
    site.answers |= dict(site.owner.collect())
    done = set(site.answers)
    assert done
    assert len(done) < len(GOOD)
    with inline_worker(site.directory, slot=1):
        site.wait(lambda: len(site.answers) == len(GOOD))
    right(site.answers, GOOD)


def test_a_failed_accelerator_ends_the_worker(site: Site) -> None:
    """On a GPU an unforeseen error may have spoilt the context: the process ends, and the entries stay leased for the reaper."""
    with pytest.raises(RuntimeError, match="poison"), inline_worker(site.directory, mode="raise", device="cuda:0"):
        site.put(BAD)
        time.sleep(0.3)
    assert not site.owner.collect()
    assert site.owner.arena.states[0] == State.LEASED
    assert site.owner.arena.rows["started"][0] == 1


def test_a_worker_beats_while_it_scores(site: Site) -> None:
    """During a long forward the heart goes on, and the forward's age tells how long it has taken."""
    with inline_worker(site.directory, seconds_per_batch=0.5):
        site.put(GOOD[0])
        site.wait(lambda: site.worker.forward_running_s > 0.3)
        assert site.worker.heartbeat_age_s < 0.2
        assert not site.worker.idle
        site.wait(lambda: len(site.answers) == 1)
    assert site.worker.forward_running_s == 0.0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_an_idle_worker_sees_to_its_device(site: Site, depth: int) -> None:
    """With nothing to score a small forward succeeds again and again, which counts as no batch; while there is work it is not needed."""
    with inline_worker(site.directory, depth=depth, exercise_s=0.05):
        site.wait(lambda: site.worker.state == "ready")
        for _ in range(4):
            site.wait(lambda: site.worker.forward_age_s > 0.04)
            site.wait(lambda: site.worker.forward_age_s < 0.03)
        assert (site.worker.batches, site.worker.pairs, site.worker.forward_running_s) == (0, 0, 0.0)
        right(site.answered(*GOOD), GOOD)


def test_a_forward_that_fails_ages(site: Site, short_path: Path) -> None:
    """On a CPU a failed exercise ends nothing, but the last success grows old, which readiness looks at; requests are still answered."""
    (short_path / "broken").touch()
    with inline_worker(site.directory, mode="raise", broken=short_path / "broken", exercise_s=0.05):
        site.wait(lambda: site.worker.forward_age_s > 0.4)
        right(site.answered(*GOOD), GOOD)
        (short_path / "broken").unlink()
        site.wait(lambda: site.worker.forward_age_s > 0.04)
        site.wait(lambda: site.worker.forward_age_s < 0.03)


def test_a_device_that_is_lost_while_idle_ends_the_worker(site: Site, short_path: Path) -> None:
    """An accelerator that fell off the bus is found out without a request."""
    with (
        pytest.raises(RuntimeError, match="poison"),
        inline_worker(site.directory, mode="raise", device="cuda:0", broken=short_path / "broken", exercise_s=0.05),
    ):
        site.wait(lambda: site.worker.state == "ready")
        (short_path / "broken").touch()
        site.wait(lambda: site.worker.state == "draining")


def test_batch_size_caps_pairs(site: Site) -> None:
    """With a limit of pairs no batch holds more, however small they are."""
    with inline_worker(site.directory, max_pairs=4):
        right(site.answered(*GOOD), GOOD)
    assert site.worker.batches == 4


def test_the_devices_memory_stands_on_the_board(site: Site) -> None:
    """Soon after the start: what is free of what there is, as the scorer says, or of the machine's where it says nothing."""
    with inline_worker(site.directory):
        site.wait(lambda: site.worker.device_total_bytes > 0)
        assert 0 < site.worker.device_free_bytes <= site.worker.device_total_bytes


def test_a_look_at_memory_that_fails_stops_no_heart(site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The driver raises at each look: that is told once, and a worker in a long forward does not pass for one that hangs."""
    looks = []

    def fail() -> int:
        looks.append(time.monotonic())
        raise RuntimeError("driver")

    monkeypatch.setattr(worker_module, "MEMORY_S", 0.05)
    with inline_worker(site.directory, depth=0, seconds_per_batch=1.0) as worker:
        site.wait(lambda: site.worker.state == "ready")
        monkeypatch.setattr(worker._scorer, "memory_bytes", fail)
        site.wait(lambda: len(looks) > 1)
        site.put(GOOD[0])
        site.wait(lambda: site.worker.forward_running_s > 0.5)
        assert site.worker.heartbeat_age_s < 0.3
        site.wait(lambda: len(site.answers) == 1)
    assert [record.getMessage() for record in caplog.records if "memory" in record.getMessage()] == [
        "the memory of cpu can't be looked at, and is not reported: RuntimeError('driver')"
    ]


@pytest.mark.parametrize("factory", ["tests.fakes:make", "tests.fakes:missing"])
def test_the_collector_leaves_alone_what_loading_left(factory: str) -> None:
    """A full collection in a worker that has loaded looks at next to nothing; and it is on again, also where loading failed."""
    gc.collect()
    before = len(gc.get_objects())
    try:
        with nullcontext() if factory.endswith("make") else pytest.raises(AttributeError):
            load(factory, {})
        assert gc.isenabled()
        assert len(gc.get_objects()) < before / 30 or factory.endswith("missing")
    finally:
        gc.unfreeze()

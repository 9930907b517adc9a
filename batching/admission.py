"""Admission: the yes or no before work is accepted. Whole requests, by tokens, atomically over all HTTP processes.

Each owner keeps its own sum in its arena's header, where a successor resets it; a short lock that only owners take makes
"read all sums, add to mine" one step. It is held for microseconds and never waited for in earnest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from batching.arena import Arena
from batching.board import Board
from batching.errors import Expired, Overloaded, TooLarge, Unavailable
from batching.files import FileLock
from batching.worker_view import WorkerState

LOCK_PATIENCE_S = 0.02
RATE_WINDOW_S, RATE_STEP_S = 10.0, 0.1
STALL_S = 2.0
"""A look that finds more seconds of work than this, alone, may have found a batch that stalled."""
SMALL = 0.25
"""Batches that fill less of the token budget than this, on average, are slower by the token than large ones would be."""
MIN_RETRY_S, MAX_RETRY_S = 0.1, 60.0


class Reservation:
    """A request's share of the queue; released when the `with` block ends, whatever happened."""

    def __init__(self, admission: Admission, tokens: int) -> None:
        self._admission, self.tokens = admission, tokens

    def adjust(self, tokens: int) -> None:
        """Replace the estimate by the count. Beside others it may pass the limit: the request has been accepted. Raises TooLarge, the
        estimate standing till the release, for a count that is over the limit alone.
        """
        self._admission.check(tokens)
        self._admission.add(tokens - self.tokens, 0)
        self.tokens = tokens

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._admission.add(-self.tokens, -1)
        self.tokens = 0


def wait_s(tokens: int, reserved_tokens: int, requests: int, rate: float) -> float:
    """How long a request of `tokens` takes at the least, behind `requests` others of `reserved_tokens` in all, at `rate` tokens a second.

    Service is fair: a small request waits for its share of turns, not for the whole backlog. 0 while no rate is known.
    """
    return (tokens + min(reserved_tokens, tokens * requests)) / rate if rate else 0.0


def believable_rate(steps: Sequence[tuple[int, float]], known: float) -> float:
    """Tokens a busy second over some looks at the counters, each (tokens, busy seconds) more than the one before.

    The slowest is left out: it may hold a batch that stalled (a process that was stopped, a machine that slept), which says nothing of the
    next one. For the same reason a long one alone changes nothing, and `known` stands.
    """
    if len(steps) == 1:
        tokens, busy_s = steps[0]
        return tokens / busy_s if busy_s <= STALL_S else known
    slow_tokens, slow_s = min(steps, key=lambda step: step[0] / step[1])
    return (sum(tokens for tokens, _ in steps) - slow_tokens) / (sum(busy_s for _, busy_s in steps) - slow_s)


class Admission:
    """What one owner needs to reserve: its own sum, everybody's sums, the lock and the measured drain rate."""

    def __init__(self, directory: Path, board: Board, arenas: list[Arena], index: int) -> None:
        self._board, self._arenas, self._mine = board, arenas, arenas[index]
        self._lock = FileLock(directory / "admission")
        self._limit = board.shape.limit_tokens
        self._tokens = self._requests = 0  # kept here too, so that nobody else can spoil them
        self._alone = len(arenas) == 1  # then nobody can come between reading and adding
        self._samples: deque[tuple[float, int, float, int]] = deque()
        self._rate, self._batch_tokens, self._ready, self._budget_tokens, self._looked = 0.0, 0.0, 1, 0, 0.0
        self._closed = False

    def reserve(self, tokens: int, deadline: float | None = None) -> Reservation:
        """Admit `tokens`. Raises TooLarge (never fits), Overloaded (not now), Expired (not by `deadline`, monotonic seconds, even alone)
        or Unavailable (nobody to score it).
        """
        self._check_workers()
        self.check(tokens)
        if deadline is not None:
            self._check_deadline(tokens, deadline - time.monotonic())
        self._acquire()
        try:
            reserved = sum(arena.reserved_tokens for arena in self._arenas)
            if reserved + tokens <= self._limit:
                self.add(tokens, 1)
                return Reservation(self, tokens)
        finally:
            self._release()
        raise Overloaded(
            f"the queue is full: {reserved:,} of {self._limit:,} tokens are taken", self.retry_after_s(reserved + tokens - self._limit)
        )

    def check(self, tokens: int) -> None:
        """Raise TooLarge for what never fits."""
        if tokens > self._limit:
            raise TooLarge(f"the request's {tokens:,} tokens are more than the queue holds ({self._limit:,}, RERANKER_QUEUE_TOKENS)")

    def _check_deadline(self, tokens: int, left_s: float) -> None:
        """Refuse at once what can't be done in time at the measured rate, if that was measured on batches as large as these would be."""
        rate = self.drain_tokens_per_s()
        if self._batch_tokens < SMALL * min(tokens, self._budget_tokens):
            return
        if wait_s(tokens, 0, 0, rate) > left_s:
            raise Expired(
                f"{tokens:,} tokens can't be scored in the {max(0.0, left_s):.3g} s that are left: the rate is {rate:,.0f} a second"
            )
        reserved, requests = sum(one.reserved_tokens for one in self._arenas), sum(one.reserved_requests for one in self._arenas)
        needed_s = wait_s(tokens, reserved, requests, rate)
        if needed_s > left_s:
            raise Overloaded(f"the queue needs about {needed_s:.3g} s for this request, which has {left_s:.3g} s left", needed_s - left_s)

    def add(self, tokens: int, requests: int) -> None:
        """Change this owner's sums; it is the only writer, and lowering needs no lock. A request may outlive `close`."""
        if self._closed:
            return
        self._tokens, self._requests = self._tokens + tokens, self._requests + requests
        self._mine.reserved_tokens, self._mine.reserved_requests = self._tokens, self._requests

    def retry_after_s(self, excess_tokens: int) -> float:
        """How long the workers will take for `excess_tokens`, by their measured rate."""
        rate = self.drain_tokens_per_s()
        return min(MAX_RETRY_S, max(MIN_RETRY_S, excess_tokens / rate)) if rate else 1.0

    def drain_tokens_per_s(self) -> float:
        """Tokens a second that the ready workers score while they are busy, over the last seconds; 0 where that is not known."""
        now = time.monotonic()
        if not self._samples or now - self._looked > RATE_STEP_S:
            self._measure(now)
        return self._rate * self._ready

    def _measure(self, now: float) -> None:
        """Look at the workers' counters; a look that finds nothing new leaves no sample."""
        tokens, busy_s, batches = self._board.counters()
        self._looked = now
        self._ready = max(1, int((self._board.slots["state"] == int(WorkerState.READY)).sum()))
        self._budget_tokens = self._board.budget_tokens()
        if not self._samples:
            self._samples.append((now, tokens, busy_s, batches))
            self._rate, self._batch_tokens = tokens / busy_s if busy_s > 0 else 0.0, tokens / max(1, batches)
        elif busy_s > self._samples[-1][2]:
            self._samples.append((now, tokens, busy_s, batches))
            while len(self._samples) > 3 and now - self._samples[1][0] > RATE_WINDOW_S:
                self._samples.popleft()
            steps = [(later[1] - earlier[1], later[2] - earlier[2]) for earlier, later in pairwise(self._samples)]
            self._rate = believable_rate(steps, self._rate)
            first = self._samples[0]
            self._batch_tokens = (tokens - first[1]) / max(1, batches - first[3])
        elif (
            now - self._samples[-1][0] > RATE_WINDOW_S
        ):  # nothing was scored for so long; were an old rate believed, it could refuse what would renew it
            self._rate = 0.0

    def _check_workers(self) -> None:
        """A worker that is up, or that was and will be again, is reason enough to accept."""
        if self._board.any_ready():
            return
        slots = self._board.slots
        states = slots["state"]
        if ((states != int(WorkerState.FAILED)) & (slots["forward_ended"] > 0)).any():
            return
        if (states == int(WorkerState.FAILED)).all():
            raise Unavailable("no worker is up: " + bytes(slots["reason"][0]).rstrip(b"\0").decode("utf-8", "replace"), retry_after_s=30.0)
        raise Unavailable("the model is still loading", retry_after_s=2.0)

    def _acquire(self) -> None:
        if self._alone:
            return
        patience = time.monotonic() + LOCK_PATIENCE_S
        while not self._lock.try_acquire():
            if time.monotonic() > patience:
                raise Overloaded("admission is busy", retry_after_s=MIN_RETRY_S)
            time.sleep(0)

    def _release(self) -> None:
        if not self._alone:
            self._lock.release()

    def close(self) -> None:
        """Close the lock's file."""
        self._closed = True
        self._lock.close()

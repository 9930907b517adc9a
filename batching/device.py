"""The device in a worker: scores the batches that the main thread hands it, in a thread of its own, one after the other or two at once
where the device works by itself; on the CPU in place, since there leasing ahead would only take the forward's own cores.

What does not fit its memory is scored in halves; what fails is answered as failed.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from batching.budget import Budget
from batching.halve import halves
from batching.lease import Lease
from batching.queue import Queue
from batching.report import Report
from batching.states import Failure
from batching.types import Collect, Float32s, LoadedScorer, OutOfMemory, Pack

logger = logging.getLogger("rerankd.worker")


@dataclass(frozen=True, slots=True)
class Work:
    """A collated batch on its way to the device."""

    lease: Lease
    pack: Pack


class Exercise:
    """Instead of a batch: a small forward of nobody's, to see whether the device still works."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch on the device: how to wait for its scores, and when it was launched (monotonic seconds)."""

    work: Work
    collect: Collect
    began: float


class Device:
    """The thread and what it shares with the main one. `landed` is called, on the device's thread, after each batch."""

    def __init__(self, queue_: Queue, scorer: LoadedScorer, report: Report, budget: Budget, landed: Callable[[], None]) -> None:
        self._queue, self._scorer, self._report, self._budget, self._landed = queue_, scorer, report, budget, landed
        self._inbox: queue.SimpleQueue[Work | Exercise | None] = queue.SimpleQueue()
        self._landed_at = 0.0
        self._ended = threading.Event()
        self._submitted = self._answered = 0  # one writer each: the main thread, this one
        self.fatal: BaseException | None = None
        """What made the device unusable."""
        self.in_place = scorer.depth == 0
        if not self.in_place:
            threading.Thread(target=self._run, name="device", daemon=True).start()

    @property
    def outstanding(self) -> int:
        """Batches handed over and not yet answered."""
        return self._submitted - self._answered

    def submit(self, work: Work) -> None:
        """Hand a batch over; in place, also score it."""
        self._submitted += 1
        if self.in_place:
            self._score_in_place(work)
        else:
            self._inbox.put(work)

    def exercise(self) -> None:
        """Run a small forward, since there is nothing to score. Only when nothing is outstanding."""
        self._submitted += 1
        if self.in_place:
            self._exercise()
        else:
            self._inbox.put(Exercise())

    def finish(self) -> None:
        """Say that nothing more will come."""
        if self.in_place:
            self._ended.set()
        else:
            self._inbox.put(None)

    def ended(self, timeout_s: float) -> bool:
        """Wait until everything handed over is answered, at most `timeout_s`; whether it is."""
        return self._ended.wait(timeout_s)

    def _score_in_place(self, work: Work) -> None:
        flying: deque[Flight] = deque()
        self._launch(work, flying)
        if flying:
            self._land(flying.pop())
        self._report.forward_begins(0.0)

    def _run(self) -> None:
        """Score what comes; on an error nobody foresaw, end, since the device may be beyond use."""
        try:
            self._score_until_told()
        except BaseException as error:  # noqa: BLE001  a thread's boundary: the main thread raises it again
            self.fatal = error
        finally:
            self._ended.set()
            self._landed()

    def _score_until_told(self) -> None:
        flying: deque[Flight] = deque()
        open_ = True
        while open_ or flying:
            work = self._next_work(wait=not flying) if open_ else None
            if isinstance(work, Exercise):
                self._exercise()
                continue
            if work is None and not flying:
                open_ = False
            elif work:
                self._launch(work, flying)
            if flying and (work is None or len(flying) >= self._scorer.depth):
                self._land(flying.popleft())
                self._report.forward_begins(flying[0].began if flying else 0.0)

    def _next_work(self, *, wait: bool) -> Work | Exercise | None:
        try:
            work = self._inbox.get(block=wait)
        except queue.Empty:
            return None
        if work is None:
            self._inbox.put(None)  # stays there for the next look
        return work

    def _exercise(self) -> None:
        """Without a forward that succeeded lately a worker is not relied upon. A device that is beyond use ends the process."""
        self._report.forward_begins(time.monotonic())
        try:
            self._scorer.exercise()
        except Exception as error:
            self._report.forward_begins(0.0)
            if not isinstance(error, OutOfMemory) and not self._scorer.device.startswith("cpu"):
                raise
            logger.error("an idle worker's forward failed on %s", self._scorer.device, exc_info=error)
        else:
            self._report.forward_lives()
            self._report.forward_begins(0.0)
        self._done()

    def _launch(self, work: Work, flying: deque[Flight]) -> None:
        began = time.monotonic()
        self._queue.start(work.lease)
        self._report.forward_begins(began)
        try:
            flying.append(Flight(work, self._launched(work), began))
        except Exception as error:  # noqa: BLE001  a loop's boundary
            self._report.forward_begins(flying[0].began if flying else 0.0)
            self._failed(work, error)

    def _launched(self, work: Work) -> Collect:
        try:
            return self._scorer.launch(work.pack)
        except OutOfMemory:
            scores = self._score_halved(work.pack, work.lease.cost)
            return lambda: scores

    def _land(self, flight: Flight) -> None:
        work = flight.work
        try:
            scores = self._collected(flight)
        except Exception as error:  # noqa: BLE001  a loop's boundary
            self._failed(work, error)
            return
        now = time.monotonic()
        forward_s, self._landed_at = now - max(flight.began, self._landed_at), now
        self._queue.complete(work.lease, scores, forward_s)
        self._report.forward_ends(work.lease, work.pack, scores, forward_s)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("batch", extra={**_told(work), "seconds": forward_s})
        if self._budget.held(work.lease.cost):
            self._report.budget(self._budget.tokens)
        self._done()

    def _collected(self, flight: Flight) -> Float32s:
        pack = flight.work.pack
        try:
            scores = flight.collect()
        except OutOfMemory:
            scores = self._score_halved(pack, flight.work.lease.cost)
        if len(scores) != pack.scores:
            raise ValueError(f"the scorer gave {len(scores)} scores where {pack.scores} were asked for")
        return scores

    def _score_halved(self, pack: Pack, cost: int) -> Float32s:
        """Score in two what the device's memory did not hold, and plan smaller batches than its `cost`.

        Raises OutOfMemory for what can't be halved.
        """
        self._budget.overflowed(cost)
        self._report.out_of_memory(self._budget.tokens)
        parts = halves(pack)
        if parts is None:
            raise OutOfMemory
        return np.concatenate([self._score_now(part, cost * part.tokens // pack.tokens) for part in parts])

    def _score_now(self, pack: Pack, cost: int) -> Float32s:
        try:
            return self._scorer.launch(pack)()
        except OutOfMemory:
            return self._score_halved(pack, cost)

    def _done(self) -> None:
        self._answered += 1
        if not self.in_place:
            self._landed()

    def _failed(self, work: Work, error: Exception) -> None:
        """The batch failed. An accelerator may be beyond use then, which only a new process can mend; the CPU is not."""
        memory = isinstance(error, OutOfMemory)
        if not memory and not self._scorer.device.startswith("cpu"):
            logger.error("a batch failed on %s", self._scorer.device, extra=_told(work))
            raise error
        logger.error("a batch failed", exc_info=error, extra=_told(work))
        self._report.failure()
        reject(self._queue, work.lease, Failure.OUT_OF_MEMORY if memory else Failure.SCORING)
        self._done()


def _told(work: Work) -> dict[str, object]:
    """Return what log lines say of a batch; of request ids the first 16 characters."""
    return {"request_ids": work.lease.traces, "entries": work.lease.entries, "tokens": work.pack.tokens}


def reject(queue_: Queue, lease: Lease, failure: Failure) -> None:
    """Fail a batch of one; give a larger one back to be tried entry by entry."""
    if lease.entries > 1:
        queue_.give_back(lease, suspect=True)
    else:
        queue_.fail(lease, failure)

"""The worker: one process, one model replica, one device. Its loop leases a batch, collates it, scores it, completes it and reports.

Two threads share the work. The main thread leases and collates batch k + 1 while the device thread scores batch k; it also beats, so that
a stuck forward and a dead process look different from outside. This module imports no torch: the scorer's factory does, by its name.
"""

from __future__ import annotations

import importlib
import logging
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batching import lifeline
from batching.bell import Bell, Ringer
from batching.errors import StartError
from batching.lease import Corrupt, Lease
from batching.planner import Limits
from batching.queue import Failure, Queue, worker_bell
from batching.report import Report
from batching.types import Collect, LoadedScorer, OutOfMemory, Pack

logger = logging.getLogger("rerankd.worker")

IDLE_WAIT_S = 0.05
"""The slow poll behind the bells, and the beat of the heart."""
GIL_SWITCH_S = 0.0005
"""The default of 5 ms would let one thread keep the other from a batch for longer than a small batch takes."""


EXIT_CANNOT_LOAD = 2
"""The exit code that says: starting me again will not help. The reason stands on the board."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is told, as JSON on its command line."""

    directory: str
    slot: int
    factory: str
    """`module:function`; called with `options`, returns a `LoadedScorer`."""
    options: dict[str, object] = {}
    budget_tokens: int = 0
    """0: the scorer's own choice."""
    max_pairs: int | None = None
    lifeline: int | None = None
    """A pipe's reading end; when the supervisor dies it closes, and the worker ends."""
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True)
class Work:
    """A collated batch on its way to the device."""

    lease: Lease
    pack: Pack


class Worker:
    """The loop over one queue with one scorer."""

    def __init__(self, config: WorkerConfig, queue_: Queue, scorer: LoadedScorer) -> None:
        self._config, self._queue, self._scorer = config, queue_, scorer
        self._bell = Bell(worker_bell(Path(config.directory), config.slot))
        self._own_bell = str(worker_bell(Path(config.directory), config.slot))
        self._ringer = Ringer()
        self._report = Report(queue_.board, config.slot)
        self._budget = config.budget_tokens or scorer.budget_tokens
        self._inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._outstanding = 0
        self._suspect = False
        self._landed_at = 0.0
        self._ended = threading.Event()
        self._fatal: BaseException | None = None
        self.stopping = False

    def run(self) -> None:
        """Serve until told to stop; leased work is finished first. Raises what made the device unusable."""
        device = threading.Thread(target=self._device_loop, name="device", daemon=True)
        device.start()
        self._report.ready(self._scorer, self._budget)
        while not self.stopping and not self._fatal:
            self._report.beat()
            lease = self._lease()
            if lease:
                self._collate(lease)
            else:
                self._sleep()
        self._report.draining()
        self._inbox.put(None)
        while not self._ended.wait(IDLE_WAIT_S):
            self._report.beat()
        if self._fatal:
            raise self._fatal

    def _lease(self) -> Lease | None:
        """A batch, if there is room in the pipeline. Leases ahead only when no other worker is free to take the work now."""
        if self._outstanding > self._scorer.depth or self._suspect:
            return None
        idle = len(self._queue.board.idle_workers())
        if self._outstanding and idle:
            return None
        limits = Limits(self._budget, self._config.max_pairs, sharers=idle + 1, suspects=not self._outstanding)
        return self._queue.lease(self._config.slot, limits, time.monotonic())

    def _collate(self, lease: Lease) -> None:
        """Copy the batch out of shared memory and hand it to the device thread."""
        try:
            work = Work(lease, self._queue.pack(lease))
        except Corrupt:
            self._reject(lease, Failure.CORRUPT)
            return
        self._suspect = lease.suspect
        self._outstanding += 1
        self._inbox.put(work)

    def _sleep(self) -> None:
        """Wait for a bell: new work, or room in the pipeline. Says first that it is idle, then looks once more."""
        if self._outstanding:
            self._bell.wait(IDLE_WAIT_S)
            return
        self._report.idle(True)
        if not self._queue.waiting():
            self._bell.wait(IDLE_WAIT_S)
        self._report.idle(False)

    def _device_loop(self) -> None:
        """Score what comes; on an error nobody foresaw, stop the worker, since the device may be beyond use."""
        try:
            self._score_until_told()
        except BaseException as error:  # noqa: BLE001  a thread's boundary: the main thread raises it again
            self._fatal = error
        finally:
            self._ended.set()
            self._ringer.ring(self._own_bell)

    def _score_until_told(self) -> None:
        flying: deque[tuple[Work, Collect, float]] = deque()
        open_ = True
        while open_ or flying:
            work = self._next_work(wait=not flying) if open_ else None
            if work is None and not flying:
                open_ = False
            elif work:
                self._launch(work, flying)
            if flying and (work is None or len(flying) >= self._scorer.depth):
                self._land(*flying.popleft())
                self._report.forward_begins(flying[0][2] if flying else 0.0)

    def _next_work(self, *, wait: bool) -> Work | None:
        try:
            work = self._inbox.get(block=wait)
        except queue.Empty:
            return None
        if work is None:
            self._inbox.put(None)  # stays there for the next look
        return work

    def _launch(self, work: Work, flying: deque[tuple[Work, Collect, float]]) -> None:
        began = time.monotonic()
        self._queue.start(work.lease)
        self._report.forward_begins(began)
        try:
            flying.append((work, self._scorer.launch(work.pack), began))
        except Exception as error:  # noqa: BLE001  a loop's boundary
            self._failed(work, error)

    def _land(self, work: Work, collect: Collect, began: float) -> None:
        try:
            scores = collect()
        except Exception as error:  # noqa: BLE001  a loop's boundary
            self._failed(work, error)
            return
        now = time.monotonic()
        forward_s, self._landed_at = now - max(began, self._landed_at), now
        self._queue.complete(work.lease, scores, forward_s)
        self._report.forward_ends(work.lease, work.pack, scores, forward_s)
        self._done()

    def _done(self) -> None:
        self._outstanding -= 1
        self._suspect = False
        self._ringer.ring(self._own_bell)

    def _failed(self, work: Work, error: Exception) -> None:
        """The batch failed. An accelerator may be beyond use then, which only a new process can mend; the CPU is not."""
        if isinstance(error, OutOfMemory):
            self._out_of_memory(work)
        elif self._scorer.device.startswith("cpu"):
            logger.error("a batch of %d entries (%s) failed", work.lease.entries, work.lease.traces, exc_info=error)
            self._report.failure()
            self._reject(work.lease, Failure.SCORING)
            self._done()
        else:
            logger.error("a batch of %d entries (%s) failed on %s", work.lease.entries, work.lease.traces, self._scorer.device)
            raise error

    def _out_of_memory(self, work: Work) -> None:
        """Give a batch back to be scored in smaller ones; a batch of one entry that does not fit alone fails."""
        self._report.out_of_memory()
        if work.lease.entries > 1:
            self._budget = max(1, min(self._budget, work.pack.tokens) // 2)
            self._report.budget(self._budget)
            self._queue.give_back(work.lease, suspect=False)
        else:
            self._queue.fail(work.lease, Failure.OUT_OF_MEMORY)
        self._done()

    def _reject(self, lease: Lease, failure: Failure) -> None:
        """Fail a batch of one; give a larger one back to be tried entry by entry."""
        if lease.entries > 1:
            self._queue.give_back(lease, suspect=True)
        else:
            self._queue.fail(lease, failure)

    def close(self) -> None:
        """Let go of bells and shared memory."""
        self._report.gone()
        self._bell.close()
        self._ringer.close()
        self._queue.close()


def load(factory: str, options: dict[str, object]) -> LoadedScorer:
    """Call `module:function` with the options; what it imports is its own affair."""
    module, _, name = factory.partition(":")
    make: Callable[[dict[str, object]], LoadedScorer] = getattr(importlib.import_module(module), name)
    return make(options)


def main(argument: str) -> int:
    """Load, warm up, serve. Exit codes: 0 stopped as told, 2 the model can't be loaded, 1 anything else."""
    config = msgspec.json.decode(argument, type=WorkerConfig)
    logging.basicConfig(level=config.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if config.lifeline is not None:
        lifeline.hold(config.lifeline)
    sys.setswitchinterval(GIL_SWITCH_S)
    queue_ = Queue(Path(config.directory))
    report = Report(queue_.board, config.slot)
    report.starting()
    worker: Worker | None = None

    def stop(_signal: int, _frame: object) -> None:
        if worker is None:
            raise SystemExit(0)
        worker.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all processes; the supervisor stops them in order
    try:
        scorer = load(config.factory, config.options)
    except StartError as error:
        logger.error("%s", error)
        report.reason(str(error))
        return EXIT_CANNOT_LOAD
    worker = Worker(config, queue_, scorer)
    worker.run()
    worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

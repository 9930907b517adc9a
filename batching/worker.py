"""The worker: one process, one model replica, one device. Its loop leases a batch, collates it and hands it to the device's thread
(`batching/device.py`), which scores, completes and reports it: while the device runs batch k, batch k + 1 is leased and collated.

The main thread also beats, so that a stuck forward and a dead process look different from outside. Nothing here imports torch: the
scorer's factory does, by its name.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from batching import lifeline, logs, memory
from batching.bell import Bell, Ringer
from batching.budget import Budget
from batching.device import Device, Work, reject
from batching.errors import SettingError, StartError
from batching.lease import Corrupt, Lease
from batching.planner import Limits
from batching.queue import Queue
from batching.queue_files import worker_bell
from batching.report import Report
from batching.restart import EXERCISE_S
from batching.states import Failure
from batching.types import LoadedScorer, OutOfMemory

logger = logging.getLogger("rerankd.worker")

IDLE_WAIT_S = 0.05
"""The slow poll behind the bells, and the beat of the heart."""
MEMORY_S = 5.0
"""How often the device's memory is looked at."""
GIL_SWITCH_S = 0.0005
"""The default of 5 ms would let one thread keep the other from a batch for longer than a small batch takes."""
CPU_NICENESS = 3
"""Added where the forward runs on the CPU: HTTP processes want the same cores for a moment now and then, and an event loop that waits for a
core keeps every caller waiting. Its latest turn in 5 s of full load came 1.3 ms late instead of 3.4, at the same throughput."""

STOP = signal.SIGUSR1
"""Tells a worker to finish what it has leased and to end. What reaches every process at once, as from a terminal or a service manager, does
not: HTTP processes that drain still need their scores."""
EXIT_CANNOT_LOAD = 2
"""The exit code that says: starting me again will not help. The reason stands on the board."""
EXIT_WRONG_SETTING = os.EX_CONFIG
"""The same, where a setting is why."""
NO_MEMORY = "not enough memory to load the model; free some, lower RERANKER_REPLICAS, set RERANKER_DTYPE=bfloat16, or take a smaller model"
"""At the first start that is final; at a later one somebody else may have taken the memory for a while."""


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
    exercise_s: float = EXERCISE_S
    lifeline: int | None = None
    """A pipe's reading end; when the supervisor dies it closes, and the worker ends."""
    log_level: str = "INFO"
    log_json: bool = False
    name: str = ""
    """What log lines call this process; by default `worker-SLOT`."""


class Worker:
    """The loop over one queue with one scorer."""

    def __init__(self, config: WorkerConfig, queue_: Queue, scorer: LoadedScorer) -> None:
        self._config, self._queue, self._scorer = config, queue_, scorer
        bell = worker_bell(Path(config.directory), config.slot)
        self._bell, self._own_bell, self._ringer = Bell(bell), str(bell), Ringer()
        self._report = Report(queue_.board, config.slot)
        self._budget = Budget(config.budget_tokens or scorer.budget_tokens)
        self._device = Device(queue_, scorer, self._report, self._budget, lambda: self._ringer.ring(self._own_bell))
        self._suspect = False
        self._blind = False
        """Whether a look at memory failed, which is told once."""
        self._exercised_at = time.monotonic()
        self.stopping = False

    def run(self) -> None:
        """Serve until told to stop; leased work is finished first. Raises what made the device unusable."""
        threading.Thread(target=self._beat_in_forward, name="heart", daemon=True).start()
        self._report.ready(self._scorer, self._budget.tokens)
        while not self.stopping and not self._device.fatal:
            self._report.beat()
            lease = self._lease()
            if lease:
                self._collate(lease)
            else:
                self._sleep()
        self._report.draining()
        self._device.finish()
        while not self._device.ended(IDLE_WAIT_S):
            self._report.beat()
        if self._device.fatal:
            raise self._device.fatal

    def _beat_in_forward(self) -> None:
        """Beat while a forward in place keeps the main thread from it; how long that takes is told apart from it. Looks at memory too."""
        looked_at = -MEMORY_S
        while True:
            if self._device.in_place and self._device.outstanding:
                self._report.beat()
            if time.monotonic() - looked_at >= MEMORY_S and not self._device.fatal:
                looked_at = time.monotonic()
                self._look_at_memory()
            time.sleep(IDLE_WAIT_S)

    def _look_at_memory(self) -> None:
        """Tell how the device's memory stands. A look that fails must not stop the heart: a long forward would pass for a hang."""
        try:
            self._report.memory(self._scorer.memory_bytes(), getattr(self._scorer, "device_memory", memory.host)())
        except Exception as error:  # noqa: BLE001  a driver raises what it likes
            if not self._blind:
                logger.warning("the memory of %s can't be looked at, and is not reported: %r", self._scorer.device, error)
            self._blind = True

    def _lease(self) -> Lease | None:
        """A batch, if there is room in the pipeline. Leases ahead only when no other worker is free to take the work now.

        A suspect is scored with nothing else under way, so that only it can be to blame.
        """
        outstanding = self._device.outstanding
        if outstanding > self._scorer.depth or (outstanding and self._suspect):
            return None
        idle = len(self._queue.board.idle_workers())
        if outstanding and idle:
            return None
        limits = Limits(self._budget.tokens, self._config.max_pairs, sharers=idle + 1, suspects=not outstanding)
        return self._queue.lease(self._config.slot, limits, time.monotonic())

    def _collate(self, lease: Lease) -> None:
        """Copy the batch out of shared memory and hand it to the device."""
        try:
            work = Work(lease, self._queue.pack(lease))
        except Corrupt:
            reject(self._queue, lease, Failure.CORRUPT)
            return
        self._suspect = lease.suspect
        self._device.submit(work)

    def _sleep(self) -> None:
        """Wait for a bell: new work, or room in the pipeline. Says first that it is idle, then looks once more."""
        if self._device.outstanding:
            self._bell.wait(IDLE_WAIT_S)
            return
        if self._exercise_is_due():
            self._device.exercise()
            return
        self._report.idle(True)
        if not self._queue.waiting():
            self._bell.wait(IDLE_WAIT_S)
        self._report.idle(False)

    def _exercise_is_due(self) -> bool:
        """Whether no forward has shown for a while that the device still works."""
        now, every_s = time.monotonic(), self._config.exercise_s
        due = self._report.forward_age_s() > every_s and now - self._exercised_at > every_s
        if due:
            self._exercised_at = now
        return due

    def close(self) -> None:
        """Let go of bells and shared memory."""
        self._report.gone()
        self._bell.close()
        self._ringer.close()
        self._queue.close()


def load(factory: str, options: dict[str, object]) -> LoadedScorer:
    """Call `module:function` with the options; what it imports is its own affair.

    All that the imports and the model leave stays, so the garbage collector is told to leave it alone: looking through it again and again
    is a fifth of the time that importing torch and transformers takes, and a look later would stop the loop for a third of a second.
    """
    module, _, name = factory.partition(":")
    gc.disable()
    try:
        make: Callable[[dict[str, object]], LoadedScorer] = getattr(importlib.import_module(module), name)
        gc.freeze()
    finally:
        gc.enable()
    scorer = make(options)
    gc.collect()
    gc.freeze()
    return scorer


def main(argument: str) -> int:
    """Load, warm up, serve. Exit codes: 0 stopped as told, 2 the model can't be loaded, EX_CONFIG by its settings, 1 anything else."""
    config = msgspec.json.decode(argument, type=WorkerConfig)
    logs.set_up(config.name or f"worker-{config.slot}", level=config.log_level, as_json=config.log_json)
    if config.lifeline is not None:
        lifeline.hold(config.lifeline)
    sys.setswitchinterval(GIL_SWITCH_S)
    queue_ = Queue(Path(config.directory))
    report = Report(queue_.board, config.slot)
    report.starting()
    restarted = queue_.board.slots["restarts"][config.slot] > 0
    worker: Worker | None = None

    def stop(_signal: int, _frame: object) -> None:
        if worker is None:
            raise SystemExit(0)
        worker.stopping = True

    signal.signal(STOP, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):  # not ignored, which programs that a compiler starts would inherit
        signal.signal(number, lambda _signal, _frame: None)
    try:
        scorer = load(config.factory, config.options)
    except StartError as error:
        logger.error("%s", error)
        report.reason(str(error))
        return EXIT_WRONG_SETTING if isinstance(error, SettingError) else EXIT_CANNOT_LOAD
    except (MemoryError, OutOfMemory) as error:
        told = f"{NO_MEMORY} ({str(error).splitlines()[0] if str(error) else 'the system gives no more'})"
        logger.error("%s", told)
        report.reason(told)
        return 1 if restarted else EXIT_CANNOT_LOAD
    if scorer.device == "cpu":
        os.nice(CPU_NICENESS)
    worker = Worker(config, queue_, scorer)
    worker.run()
    worker.close()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1])
    logging.shutdown()
    os._exit(code)  # all is closed; to take torch's modules apart first would take seconds, in which nobody can start again

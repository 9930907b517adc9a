"""The workers of one queue as their parent sees them: spawn, watch, restart with back-off, reap, stop.

What to do next is decided in `batching/restart.py`; `Pool.poll` looks, decides and acts, and is called several times a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from batching.awake import Watch
from batching.errors import SettingError, StartError
from batching.lifeline import Lifeline, deaf_to_interrupts
from batching.queue import FAULT, KILL, Queue
from batching.restart import Action, ChildView, Policy, ended_from_outside, exit_words, next_action
from batching.types import SHARED_WEIGHTS
from batching.worker import EXIT_CANNOT_LOAD, EXIT_WRONG_SETTING, STOP, WorkerConfig
from batching.worker_view import WorkerState, WorkerView

logger = logging.getLogger("rerankd.pool")


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One worker to run: which scorer, with which options, in which environment."""

    factory: str
    options: dict[str, object] = {}
    budget_tokens: int = 0
    max_pairs: int | None = None
    environment: dict[str, str] = {}


UNKILLABLE_S = 10.0
"""A process that is still there so long after SIGKILL hangs in the kernel, in its device's driver: its own code will never run again."""


class _Child:
    """A slot and the process that holds it, if any."""

    def __init__(self, slot: int, spec: WorkerSpec) -> None:
        self.slot, self.spec = slot, spec
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = self.ended_at = 0.0
        self.crashes = self.batches_before = 0
        self.was_ready = False
        self.killed_for, self.killed_at = "", 0.0
        self.refused = self.wrong_setting = False
        """Whether its last process said itself that it can't be loaded, and that a setting is why."""

    def view(self, worker: WorkerView, now: float, watched_s: float) -> ChildView:
        """`watched_s`: how long it has been looked at without a gap; silence before that says nothing."""
        code = self.process.poll() if self.process else None
        if self.process and code is None and self.killed_for and min(now - self.killed_at, watched_s) > UNKILLABLE_S:
            code = -signal.SIGKILL
        self.was_ready |= worker.state == "ready"
        return ChildView(
            running=self.process is not None,
            exit_code=code,
            state=worker.state,
            age_s=now - self.started_at,
            heartbeat_age_s=min(worker.heartbeat_age_s, now - self.started_at, watched_s),
            forward_running_s=min(worker.forward_running_s, now - self.started_at, watched_s),
            crashes=self.crashes,
            ended_age_s=now - self.ended_at,
            was_ready=self.was_ready,
        )


class Pool:
    """All workers of one queue. The only reaper of their leases."""

    def __init__(
        self,
        directory: Path,
        specs: list[WorkerSpec],
        policy: Policy,
        lifeline: Lifeline,
        log_level: str = "INFO",
        *,
        log_json: bool = False,
        name: str = "worker-",
    ) -> None:
        """`name`: what log lines call the workers, before their slot."""
        self._directory, self._policy = directory, policy
        self._log_level, self._log_json, self._name = log_level, log_json, name
        self.queue = Queue(directory)
        self._children = [_Child(slot, spec) for slot, spec in enumerate(specs)]
        self._lifeline = lifeline
        self._abandoned: list[subprocess.Popen[bytes]] = []
        self.stopping = self._led = False
        self._watch = Watch()

    def __repr__(self) -> str:
        return f"Pool({[worker.state for worker in self.workers()]})"

    def workers(self) -> list[WorkerView]:
        """How the workers are."""
        return self.queue.board.workers()

    def pids(self) -> list[int]:
        """Processes that live now."""
        return [child.process.pid for child in self._children if child.process and child.process.poll() is None]

    def poll(self, now: float | None = None) -> None:
        """Do for each worker what it needs now, and drop what nobody waits for while no worker does."""
        now = time.monotonic() if now is None else now
        watched_s = self._watch.look(now)
        views = self.queue.board.workers(now)
        self._led = self._led or views[0].state in ("ready", "failed")
        for child, worker in zip(self._children, views, strict=True):
            if child.slot and not self._led:
                continue  # the first goes ahead: loading side by side, none would be ready before all are
            view = child.view(worker, now, watched_s)
            self._act(child, worker, view, next_action(view, self._policy), now)
        self._abandoned = [process for process in self._abandoned if process.poll() is None]
        if not any(worker.state == "ready" for worker in views):
            self.queue.drop_unwanted(now)

    def _act(self, child: _Child, worker: WorkerView, view: ChildView, action: Action, now: float) -> None:
        if action is Action.BURY and view.exit_code is not None:
            self._bury(child, worker, view.exit_code, now)
        elif action is Action.SPAWN and not self.stopping:
            self._spawn(child, now)
        elif action is Action.KILL and child.process and not child.killed_for:
            loads = view.state == "starting"
            policy = self._policy
            reason = f"not loaded within {policy.load_limit_s:g} s" if loads else f"no sign of life for {policy.forward_limit_s:g} s"
            child.killed_for, child.killed_at = reason, now
            logger.error("worker %d on %s is stuck: %s; killing it", child.slot, worker.device or "its device", child.killed_for)
            child.process.kill()
        elif action is Action.GIVE_UP:
            self._set(child, "state", WorkerState.FAILED)
            self.queue.board.slots["crash_loops"][child.slot] += 1
            after = "" if child.refused else f" after {child.crashes} crashes in a row"
            logger.error("worker %d is given up%s: %s", child.slot, after, worker.reason)

    def _spawn(self, child: _Child, now: float) -> None:
        spec = child.spec
        config = WorkerConfig(
            directory=str(self._directory), slot=child.slot, factory=spec.factory, options=spec.options, budget_tokens=spec.budget_tokens,
            max_pairs=spec.max_pairs, exercise_s=self._policy.exercise_s, lifeline=self._lifeline.reading, log_level=self._log_level,
            log_json=self._log_json, name=f"{self._name}{child.slot}",
        )  # fmt: skip
        self._set(child, "state", WorkerState.STARTING)
        if child.started_at:
            self.queue.board.slots["restarts"][child.slot] += 1
        child.started_at, child.killed_for = now, ""
        child.batches_before = int(self.queue.board.slots["batches"][child.slot])
        command = [sys.executable, "-m", "batching.worker", msgspec.json.encode(config).decode()]
        shared = {SHARED_WEIGHTS: str(self._directory / "weights")}
        try:
            with deaf_to_interrupts():
                environment = {**os.environ, **shared, **spec.environment}
                child.process = subprocess.Popen(command, env=environment, pass_fds=(self._lifeline.reading,))
        except OSError as error:  # no descriptors, memory or processes are left, which may pass
            child.crashes, child.ended_at, child.refused = child.crashes + 1, now, False
            reason = f"worker {child.slot} can't be started: {error.strerror}"
            self._set(child, "reason", reason.encode()[:256])
            logger.error("%s", reason)

    def _bury(self, child: _Child, worker: WorkerView, code: int, now: float) -> None:
        """The process has ended: take its leases back and decide whether it was a crash in a row."""
        outside = ended_from_outside(code) and not child.killed_for
        reaped = self.queue.reap(child.slot, blame=KILL if outside else FAULT)
        if reaped is None:  # somebody holds the claim: if it is a worker that stands still, it is found out meanwhile
            return
        if child.process and child.process.returncode is None:
            logger.error("worker %d hangs in the kernel and can't be killed; going on without it", child.slot)
            self._abandoned.append(child.process)
        child.process, child.ended_at = None, now
        if code == 0 and self.stopping:
            return
        child.crashes = 1 if worker.batches > child.batches_before else child.crashes + 1
        self._set(child, "idle", 0)
        self._set(child, "forward_started", 0.0)
        self._set(child, "state", WorkerState.STARTING)
        child.wrong_setting = code == EXIT_WRONG_SETTING
        child.refused = child.wrong_setting or code == EXIT_CANNOT_LOAD
        if child.refused:
            child.crashes = max(child.crashes, self._policy.max_crashes)
            return
        reason = f"worker {child.slot} ended with {exit_words(code)}" + (f" ({child.killed_for})" if child.killed_for else "")
        self._set(child, "reason", reason.encode()[:256])
        logger.error("%s; %d leased entries go back to waiting", reason, reaped)

    def _set(self, child: _Child, name: str, value: object) -> None:
        self.queue.board.slots[name][child.slot] = value

    def failed(self) -> StartError | None:
        """Why no worker of this pool will ever be ready, if that is so; a SettingError where a setting is why."""
        workers = self.workers()
        hopeless = all(worker.state == "failed" and not child.was_ready for worker, child in zip(workers, self._children, strict=True))
        kind = SettingError if self._children[0].wrong_setting else StartError
        return kind(workers[0].reason) if hopeless else None

    def stop(self, limit_s: float) -> None:
        """Ask every worker to finish what it has leased; kill what has not after `limit_s`."""
        self.stopping = True
        processes = [child.process for child in self._children if child.process]
        for process in processes:
            process.send_signal(STOP)
            process.send_signal(signal.SIGCONT)  # a stopped process could not hear it
        until = time.monotonic() + limit_s
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(UNKILLABLE_S)

    def close(self) -> None:
        """Let go of the queue."""
        self.queue.close()

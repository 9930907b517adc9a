"""The HTTP processes as their parent sees them: spawn, watch, restart with back-off, give up for a while, signal."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batching.arena import Arena
from batching.awake import Watch
from batching.bury import bury
from batching.lifeline import Lifeline, deaf_to_interrupts
from batching.pool import UNKILLABLE_S
from batching.restart import Policy, backoff_s, ended_from_outside, exit_words
from service.nursery import SUPPORTED, Child, Nursery
from service.processes import EXIT_CANNOT_START, Cause, Processes, processes_file

log = logging.getLogger("rerankd.supervisor")

STUCK_S = 30.0
"""An HTTP process whose event loop has not run for this long is restarted."""
FRESH_S = 3.0
"""An event loop beats four times a second; one that was silent for this long is not relied upon."""
LIVED_S = 5.0
"""A process that served this long did not crash in a row."""
POLICY = Policy(max_backoff_s=10.0, max_crashes=5, load_limit_s=300.0)
"""Until its event loop runs for the first time it may be opening large tokenizers from a slow disk."""


@dataclass(slots=True)
class _Child:
    index: int
    listener: socket.socket
    arena: Arena
    process: subprocess.Popen[bytes] | Child | None = None
    started_at: float = 0.0
    ended_at: float = 0.0
    crashes: int = 0
    stuck: bool = False

    @property
    def beat(self) -> float:
        """When the process's event loop last said that it runs."""
        return float(self.arena.header["owner_beat"][0])

    @property
    def up_s(self) -> float:
        """For how long its event loop is known to have served; 0 while it starts."""
        return max(0.0, self.beat - self.started_at)

    def is_stuck(self, now: float, watched_s: float) -> bool:
        """Whether nothing was heard of it for too long while it was looked at. A start has a limit of its own."""
        return min(now - self.started_at - self.up_s, watched_s) > (STUCK_S if self.up_s else POLICY.load_limit_s)

    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None


def cause_of(code: int, *, stuck: bool) -> Cause:
    """Why a process that ended with `code` did so; `stuck`: its parent killed it."""
    if stuck:
        return Cause.STUCK
    if code == EXIT_CANNOT_START:
        return Cause.REFUSED
    return Cause.KILLED if ended_from_outside(code) else Cause.CRASH


class HttpPool:
    """All HTTP processes of a service. A process that dies is started again at once; its successor takes its arenas and its socket over.

    One that crashes again and again is started less and less often; that is told in the table of processes, and makes readiness false.
    """

    def __init__(
        self,
        directory: Path,
        queues: Sequence[Path],
        sockets: Sequence[socket.socket],
        lifeline: Lifeline,
        program: Sequence[str] | None = None,
    ) -> None:
        """`queues`: the directories of all models' queues; `program`: what to run instead. Raises StartError: no room for the table."""
        self._directory, self._queues, self._lifeline = directory, queues, lifeline
        self._program = program or (sys.executable, "-m", "service.http_process")
        descriptors = [one.fileno() for one in sockets]
        self._nursery = Nursery(directory, descriptors, lifeline.reading) if program is None and SUPPORTED else None
        self.table = Processes.make(processes_file(directory), len(sockets))
        self._children = [_Child(index, one, Arena(queues[0] / f"arena.{index}")) for index, one in enumerate(sockets)]
        self._watch = Watch()
        self.stopping = False

    def poll(self, now: float | None = None) -> None:
        """Start what is not running, bury what ended, kill what is stuck."""
        now = time.monotonic() if now is None else now
        watched_s = self._watch.look(now)
        for child in self._children:
            if child.process and child.process.poll() is not None:
                self._bury(child, now)
            if child.process is None:
                if not self.stopping and now - child.ended_at >= backoff_s(child.crashes, POLICY):
                    self._spawn(child, now)
            elif not child.stuck and child.is_stuck(now, watched_s):
                log.error("HTTP process %d is stuck; killing it", child.index)
                child.stuck = True
                child.process.kill()
            elif child.crashes and child.up_s > LIVED_S:
                child.crashes = 0
                self.table.looping(child.index, False)

    def _spawn(self, child: _Child, now: float) -> None:
        child.started_at, child.stuck = now, False
        try:
            child.process = self._start(child)
        except OSError as error:  # no descriptors, memory or processes are left, which may pass
            reason = f"HTTP process {child.index} can't be started: {error.strerror}"
            log.error("%s", reason)
            self._crashed(child, Cause.CRASH, reason, now)

    def _start(self, child: _Child) -> subprocess.Popen[bytes] | Child:
        if self._nursery is not None:
            return self._nursery.start(child.index)
        descriptors = (child.listener.fileno(), self._lifeline.reading)
        command = [*self._program, str(self._directory), str(child.index), *map(str, descriptors)]
        with deaf_to_interrupts():
            return subprocess.Popen(command, pass_fds=descriptors)

    def _bury(self, child: _Child, now: float) -> None:
        """The process has ended: nobody waits for its entries any more."""
        if child.process is None or self.stopping:
            return
        code, child.process = child.process.wait(), None
        if child.up_s > LIVED_S:
            child.crashes = 0
        reason = f"HTTP process {child.index} ended with {exit_words(code)}"
        if child.stuck and not child.up_s:  # the next one will hardly do better, and would take as long to tell
            child.crashes, reason = POLICY.max_crashes, f"HTTP process {child.index} did not start within {POLICY.load_limit_s:g} s"
        log.error("%s; %s", reason, self._drop(child))
        self._crashed(child, cause_of(code, stuck=child.stuck), reason, now)

    def _drop(self, child: _Child) -> str:
        """Drop what a dead process left in the queues; what became of it, in words."""
        try:
            left = sum(bury(queue, child.index) for queue in self._queues)
        except OSError as error:  # its successor drops it, when it takes the arenas over
            return f"entries of its callers are dropped later ({error.strerror})"
        return f"{left} entries of its callers are dropped"

    def _crashed(self, child: _Child, cause: Cause, reason: str, now: float) -> None:
        """A process ended, or could not be started: it may have been one crash too many."""
        child.crashes, child.ended_at = child.crashes + 1, now
        self.table.ended(child.index, cause)
        if cause is Cause.REFUSED:  # it told the reason itself
            child.crashes = max(child.crashes, POLICY.max_crashes)
        else:
            self.table.tell(child.index, reason)
        if child.crashes >= POLICY.max_crashes:
            self.table.looping(child.index, True)
            log.error("HTTP process %d is started again less often from now on: %s", child.index, self.table.view()[child.index].reason)

    def failed(self) -> str | None:
        """Why a process can't be started, if that is so."""
        return next((one.reason for one in self.table.view() if one.looping), None)

    def send(self, number: int) -> None:
        """Send every live process a signal."""
        for child in self._children:
            if child.process and child.runs():
                child.process.send_signal(number)

    def drain(self) -> None:
        """Tell every process to finish what is in flight and to end; nobody is born any more, so the nursery lets go of the listeners."""
        self.stopping = True
        self.send(signal.SIGTERM)
        if self._nursery is not None:
            self._nursery.close()

    def running(self) -> bool:
        """Whether any process lives."""
        return any(child.runs() for child in self._children)

    def all_beating(self) -> bool:
        """Whether every process's event loop has run since it was started."""
        return all(child.process and child.up_s for child in self._children)

    def beating(self, fresh_s: float = FRESH_S) -> int:
        """How many processes' event loops have run within `fresh_s`."""
        now = time.monotonic()
        return sum(child.process is not None and now - child.beat <= fresh_s for child in self._children)

    def kill(self) -> None:
        """End what still lives; what hangs in the kernel is not waited for without limit."""
        self.stopping = True
        processes = [child.process for child in self._children if child.process]
        for process in processes:
            process.kill()
        until = time.monotonic() + UNKILLABLE_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        if self._nursery is not None:
            self._nursery.close()

    def close(self) -> None:
        """Let go of everything."""
        for child in self._children:
            child.arena.close()
        self.table.close()

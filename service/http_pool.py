"""The HTTP processes as their parent sees them: spawn, watch, restart with back-off, signal."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batching.arena import Arena
from batching.lifeline import Lifeline
from batching.restart import exit_words

log = logging.getLogger("rerankd.supervisor")

STUCK_S = 30.0
"""An HTTP process whose event loop has not run for this long is restarted."""
FRESH_S = 3.0
"""An event loop beats four times a second; one that was silent for this long is not relied upon."""
LIVED_S = 5.0
"""A process that lived this long did not crash in a row."""
MAX_BACKOFF_S = 10.0


@dataclass(slots=True)
class _Child:
    index: int
    listener: socket.socket
    arena: Arena
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    crashes: int = 0
    next_start: float = field(default=0.0)

    def beat_age_s(self, now: float) -> float:
        """Since the process's event loop last said that it runs, or since the start."""
        return now - max(self.started_at, float(self.arena.header["owner_beat"][0]))


class HttpPool:
    """All HTTP processes of a service. A process that dies is started again at once; its successor takes its arena and socket over."""

    def __init__(self, directory: Path, sockets: Sequence[socket.socket], lifeline: Lifeline) -> None:
        self._directory, self._lifeline = directory, lifeline
        self._children = [_Child(index, one, Arena(directory / "0" / f"arena.{index}")) for index, one in enumerate(sockets)]
        self.stopping = False
        self.restarts = 0

    def poll(self, now: float | None = None) -> None:
        """Start what is not running, bury what ended, kill what is stuck."""
        now = time.monotonic() if now is None else now
        for child in self._children:
            if child.process and child.process.poll() is not None:
                self._bury(child, now)
            if child.process is None and not self.stopping and now >= child.next_start:
                self._spawn(child, now)
            elif child.process and child.beat_age_s(now) > STUCK_S:
                log.error("HTTP process %d is stuck; killing it", child.index)
                child.process.kill()

    def _spawn(self, child: _Child, now: float) -> None:
        descriptors = (child.listener.fileno(), self._lifeline.reading)
        command = [sys.executable, "-m", "service.http_process", str(self._directory), str(child.index), *map(str, descriptors)]
        child.process = subprocess.Popen(command, pass_fds=descriptors)
        child.started_at = now

    def _bury(self, child: _Child, now: float) -> None:
        if child.process is None or self.stopping:
            return
        code, child.process = child.process.returncode, None
        child.crashes = 0 if now - child.started_at > LIVED_S else child.crashes + 1
        child.next_start = now if child.crashes <= 1 else now + min(MAX_BACKOFF_S, 0.25 * 2**child.crashes)
        child.arena.reserved_tokens = child.arena.reserved_requests = 0
        self.restarts += 1
        log.error("HTTP process %d ended with %s; starting its successor", child.index, exit_words(code))

    def send(self, number: int) -> None:
        """Send every live process a signal."""
        for child in self._children:
            if child.process and child.process.poll() is None:
                child.process.send_signal(number)

    def running(self) -> bool:
        """Whether any process lives."""
        return any(child.process and child.process.poll() is None for child in self._children)

    def all_beating(self) -> bool:
        """Whether every process's event loop has run since it was started."""
        return all(child.process and float(child.arena.header["owner_beat"][0]) > child.started_at for child in self._children)

    def beating(self, fresh_s: float = FRESH_S) -> int:
        """How many processes' event loops have run within `fresh_s`."""
        now = time.monotonic()
        return sum(bool(child.process) and now - float(child.arena.header["owner_beat"][0]) <= fresh_s for child in self._children)

    def kill(self) -> None:
        """End what still lives, and let go of everything."""
        self.stopping = True
        for child in self._children:
            if child.process:
                child.process.kill()
                child.process.wait()
            child.arena.close()

"""Where HTTP processes are born, as their parent sees it: one process that has opened the tokenizers and forks, so that all share them.

A tokenizer of 250,000 pieces takes 300 MB and seconds to open. A nursery that dies costs nobody: its children live on, watched from
outside, and the next birth has a new nursery. `http_nursery.py` runs in it. Linux alone: elsewhere a fork without exec is not safe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from batching.lifeline import deaf_to_interrupts

MESSAGE_BYTES = 64
PROGRAM = "service.http_nursery"
PLACE = "0000"
"""Stands in the command line for the number of an HTTP process, which writes its own there."""
LOST = -signal.SIGKILL
"""Taken for the exit code of a child whose nursery was not there any more to tell it: most likely both were killed."""
WAIT_S = 0.01
TELL_S = 0.5
"""For a nursery to say how a child ended; it takes a moment where it is not busy opening a model."""
SUPPORTED = sys.platform == "linux"


def readable(descriptors: Sequence[int], timeout_s: float | None = None) -> list[int]:
    """Those that can be read or have come to their end, as soon as one can; none once `timeout_s` has passed.

    `select.select` knows no descriptor above 1023, of which a parent of many processes has some.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


class Nursery:
    """Starts HTTP processes by number. `listeners`: each one's socket; `lifeline`: what ends all when the parent is gone."""

    def __init__(self, directory: Path, listeners: Sequence[int], lifeline: int) -> None:
        self._directory, self._listeners, self._lifeline = directory, listeners, lifeline
        self._brood: _Brood | None = None

    def start(self, index: int) -> Child:
        """Have HTTP process `index` born, soon: at once if the nursery is up. Raises OSError where the machine has no room for one."""
        if self._brood is None or not self._brood.alive():
            self._brood = self._open()
        return self._brood.ask(index)

    def _open(self) -> _Brood:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptors = (self._lifeline, its.fileno(), *self._listeners)
        command = [sys.executable, "-m", PROGRAM, str(self._directory), *map(str, descriptors), PLACE]
        # NumPy's threads are no use there, and a process with threads must not fork.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        try:
            with deaf_to_interrupts():
                return _Brood(subprocess.Popen(command, pass_fds=descriptors, env=environment), ours)
        except OSError:
            ours.close()
            raise
        finally:
            its.close()

    def close(self) -> None:
        """Close the nursery; children live on."""
        if self._brood is not None:
            self._brood.close()


class _Brood:
    """The children of one nursery process, and what it tells of them."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        self.process, self._line = process, line
        self._line.setblocking(False)
        self._unborn: dict[int, Child] = {}
        self._born: dict[int, Child] = {}
        self.gone = False

    def alive(self) -> bool:
        self.read()
        return not self.gone and self.process.poll() is None

    def ask(self, index: int) -> Child:
        child = self._unborn[index] = Child(self)
        with contextlib.suppress(OSError):  # it died just now: `read` finds out
            self._line.send(b"%d" % index)
        return child

    def read(self) -> None:
        """Take what the nursery and its newborns have said so far. The line ends when nobody is left to say more."""
        while not self.gone:
            try:
                message = self._line.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if message:
                self._hear(*message.split())
            else:
                self.gone = True
                self._line.close()
        self.process.poll()  # buries it

    def _hear(self, what: bytes, first: bytes, second: bytes) -> None:
        if what == b"born":
            if (child := self._unborn.pop(int(first), None)) is not None:
                child.be_born(int(second))
                self._born[int(second)] = child
        elif (child := self._born.pop(int(first), None)) is not None:
            child.end(int(second))

    def kill(self) -> None:
        """End the nursery, and wait until it is sure which children it has born."""
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + 1.0
        while not self.gone and time.monotonic() < until:
            readable([self._line.fileno()], WAIT_S)
            self.read()

    def close(self) -> None:
        self._line.close()
        self.gone = True
        self.process.kill()
        self.process.wait()


class Child:
    """An HTTP process, born or about to be; used like a `subprocess.Popen`."""

    def __init__(self, brood: _Brood) -> None:
        self._brood = brood
        self._watch: int | None = None
        self._ended_at = 0.0
        self.pid: int | None = None
        self.returncode: int | None = None

    def be_born(self, pid: int) -> None:
        """Note its id; called by what reads the nursery's line."""
        self.pid = pid
        with contextlib.suppress(OSError):  # an old kernel, or it has ended already, which is told next
            self._watch = os.pidfd_open(pid)

    def end(self, returncode: int) -> None:
        """Note how it ended."""
        self.returncode = returncode
        if self._watch is not None:
            os.close(self._watch)
            self._watch = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal's number, or None while it lives or is awaited."""
        if self.returncode is None:
            self._brood.read()
            if self.returncode is None and self._brood.gone:
                self._look_alone()
            elif self.returncode is None and self.pid is not None and not self._lives(self.pid):
                self._untold()
        return self.returncode

    def _untold(self) -> None:
        """It has ended, and its nursery has not said so: one that goes on not saying it stands still, and is no use."""
        now = time.monotonic()
        self._ended_at = self._ended_at or now
        if now - self._ended_at > TELL_S:
            self._brood.kill()

    def _look_alone(self) -> None:
        """Its nursery is gone: what was not born never will be, and of the others only whether they live can be seen."""
        if self.pid is None:
            self.end(self._brood.process.wait() or LOST)
        elif not self._lives(self.pid):
            self.end(LOST)

    def _lives(self, pid: int) -> bool:
        if self._watch is not None:
            return not readable([self._watch], 0.0)
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises TimeoutExpired."""
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(PROGRAM, timeout or 0.0)
            time.sleep(WAIT_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal. One who is told to end before it is born never is."""
        if self.poll() is None and self.pid is None and number in (signal.SIGTERM, signal.SIGKILL):
            self._brood.kill()
        if self.poll() is None and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

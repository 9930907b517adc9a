"""The nursery: opens every model's tokenizer once, then forks an HTTP process whenever its parent asks for one. It never has a thread.

`python -m service.http_nursery DIRECTORY LIFELINE LINE LISTENER... PLACE`. It hears numbers on the line and tells who was born and how
who ended; a newborn tells itself, so that nobody is born in secret. It ends when its parent closes the line.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path

from batching.errors import StartError
from service import http_process
from service.models import Served
from service.nursery import MESSAGE_BYTES, PLACE, PROGRAM, readable

ARGUMENTS_AT = 45
"""Where /proc/self/stat says where the command line lies: field 48 of proc(5), the end in 49; two fields stand before the split."""


def main(directory: str, lifeline: str, line: str, *rest: str) -> int:
    """Run the nursery to its end, or, in a child, an HTTP process to its end; the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # its parent ends it, after its children
    path, parent = Path(directory), socket.socket(fileno=int(line))
    plan = http_process.read_plan(path)
    models = _Models(plan)
    index = _bear(parent, models)
    if index is None:
        return 0
    listeners = [int(one) for one in rest[:-1]]
    for descriptor in {*listeners} - {listeners[index]}:  # all have the same one where it is a Unix socket
        os.close(descriptor)
    return http_process.run(path, index, plan, socket.socket(fileno=listeners[index]), int(lifeline), models.opened)


class _Models:
    """What HTTP processes share: the imported modules and every model, or why one can't be opened, which is for each of them to tell."""

    def __init__(self, plan: http_process.ServicePlan) -> None:
        from granian.server import embed
        from uvloop import Loop

        from service import app

        del embed, Loop, app
        self._plan = plan
        self.opened: list[Served] | StartError = []
        self.open()

    def open(self) -> None:
        """Open what is not open yet."""
        if self.opened and isinstance(self.opened, list):
            return
        try:
            self.opened = http_process.open_models(self._plan)
        except StartError as error:
            self.opened = error
        http_process.settle()  # else the collector would write to shared pages
        with contextlib.suppress(AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)  # what opening took for a while is not shared out in pieces


def _bear(parent: socket.socket, models: _Models) -> int | None:
    """Fork for every number that is asked for. Returns the number in the child, None in the nursery when its parent is gone."""
    waking, wakes = socket.socketpair()
    with waking, wakes:
        for one in (waking, wakes):
            one.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        try:
            index = _next_born(parent, waking, models)
        finally:
            signal.set_wakeup_fd(-1)  # before the sockets close: children may end at any time
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if index is not None:
        _be_born(parent, index)
    return index


def _next_born(parent: socket.socket, waking: socket.socket, models: _Models) -> int | None:
    """See `_bear`, whose descriptors and signals are still the nursery's when this returns."""
    while True:
        ready = readable([parent.fileno(), waking.fileno()])
        if waking.fileno() in ready:
            with contextlib.suppress(BlockingIOError):
                waking.recv(4096)
            _tell_ends(parent)
        if parent.fileno() not in ready:
            continue
        asked = parent.recv(MESSAGE_BYTES)
        if not asked:
            return None
        models.open()
        if os.fork() == 0:
            return int(asked)


def _tell_ends(parent: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError, BrokenPipeError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            parent.send(b"ended %d %d" % (ended[0], os.waitstatus_to_exitcode(ended[1])))


def _be_born(parent: socket.socket, index: int) -> None:
    """From here on a signal to end is heeded, and the parent knows."""
    http_process.heed_signals()
    _retitle(index)
    with contextlib.suppress(OSError):
        parent.send(b"born %d %d" % (index, os.getpid()))
    parent.close()


def _retitle(index: int) -> None:
    """Write into the command line, as `ps` shows it, what this is now and its number. Of the same length, so that nothing moves."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    begin, end = int(fields[ARGUMENTS_AT]), int(fields[ARGUMENTS_AT + 1])
    if not 0 < begin < end:
        return
    line = ctypes.string_at(begin, end - begin)
    number = b"%0*d" % (len(PLACE), index)
    told = line.replace(PROGRAM.encode(), b"service.http_process").removesuffix(PLACE.encode() + b"\0") + number + b"\0"
    if len(told) == len(line):
        ctypes.memmove(begin, told, len(told))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

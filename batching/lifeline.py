"""That children end with the supervisor, and by it alone.

How a child notices that the supervisor is gone, however it went: a pipe whose writing end only the supervisor holds. It works on every
Unix, where a signal at the parent's death is Linux's alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Children started in this block never hear a terminal's Ctrl-C, which reaches all its processes: their parent ends them, in order.

    Until a child could say so itself its interpreter would end with a traceback. What comes to this process meanwhile it hears afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold(descriptor: int) -> None:
    """End this process at once when the pipe behind `descriptor` closes."""

    def wait() -> None:
        os.read(descriptor, 1)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


class Lifeline:
    """The supervisor's end. Hand `reading` to children; it must not be inherited by anything else for writing."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()

    def close(self) -> None:
        """Let go of it, which ends every child that still lives."""
        os.close(self._writing)
        os.close(self.reading)

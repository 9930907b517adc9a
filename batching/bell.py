"""Wake-ups between processes: datagrams that say "look again".

Bells are hints: one lost or doubled is harmless, and a slow poll backs them up.
"""

from __future__ import annotations

import contextlib
import select
import socket
from pathlib import Path

from batching.errors import StartError

MAX_PATH = 100
"""The kernel's limit for a socket's path is 108 bytes on Linux and 104 on macOS."""


class Bell:
    """The listening end, bound to `path`; an earlier owner's socket there is replaced."""

    def __init__(self, path: Path) -> None:
        check_path(path)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        self._rings = select.poll()  # `select.select` knows no descriptor above 1023
        self._rings.register(self._socket, select.POLLIN)

    def fileno(self) -> int:
        """For an event loop's reader."""
        return self._socket.fileno()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung or until `timeout_s` has passed; whether it was rung."""
        rung = bool(self._rings.poll(timeout_s * 1000))
        if rung:
            self.clear()
        return rung

    def clear(self) -> None:
        """Take all rings that have come so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class Ringer:
    """Rings any bell by its path."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, path: str) -> None:
        """Ring; when nobody listens or enough rings are waiting already, nothing is lost."""
        with contextlib.suppress(BlockingIOError, FileNotFoundError, ConnectionRefusedError, OSError):
            self._socket.sendto(b"!", path)

    def close(self) -> None:
        """Close the sending socket."""
        self._socket.close()


def check_path(path: Path) -> None:
    """Raises StartError when `path` is too long for a socket."""
    if len(str(path).encode()) > MAX_PATH:
        raise StartError(f"the runtime directory's path is too long for a socket ({path}): set RERANKER_RUNTIME_DIR to a shorter one")

"""Telling systemd (or whoever started us) how the service is: READY, STATUS, STOPPING and the watchdog, in sd_notify's datagrams.

The socket's name is taken out of the environment, so that no child can speak in the supervisor's name. Without one nothing is sent.
What is true of the service is decided in `standing`; this only says it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

WATCHDOG_SHARE = 0.3
"""Of the watchdog's time after which it is fed again: two messages may be late before it bites."""


class Notifier:
    """One-way messages to the service manager. A lost message is no reason to stop serving: nothing here raises."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of `environ`. Format: sd_notify(3), sd_watchdog_enabled(3)."""
        name = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if name[:1] in {"@", "/"} else None
        self._watchdog_s = _watchdog_s(environ)
        self._fed_at = float("-inf")
        self._status = ""
        if self._socket:
            self._socket.setblocking(False)

    @property
    def listening(self) -> bool:
        """Whether anybody asked to be told."""
        return self._socket is not None

    @property
    def watchdog_s(self) -> float | None:
        """Seconds after which the service manager kills a service that did not feed the watchdog; None: never."""
        return self._watchdog_s

    def ready(self, status: str, address: str) -> None:
        """Say that requests are answered from now on, and where."""
        self._status = status
        self._send(f"READY=1\nSTATUS={_line(status)}\nX_RERANKD_ADDRESS={_line(address)}")

    def status(self, status: str) -> None:
        """Say in one line how the service is, unless that was the last thing said."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={_line(status)}")

    def starting(self, status: str, more_s: float) -> None:
        """Say how far the start is, and that it may take `more_s` seconds from now."""
        self._status = status
        self._send(f"STATUS={_line(status)}\nEXTEND_TIMEOUT_USEC={int(more_s * 1e6)}")

    def stopping(self, status: str = "draining") -> None:
        """Say that the service is on its way out."""
        self._status = status
        self._send(f"STOPPING=1\nSTATUS={_line(status)}")

    def feed(self, now: float) -> bool:
        """Feed the watchdog where it is due (`now`: monotonic seconds); returns whether it was fed. Call it only while all is well."""
        if self._watchdog_s is None or now - self._fed_at < self._watchdog_s * WATCHDOG_SHARE:
            return False
        self._fed_at = now
        self._send("WATCHDOG=1")
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket:
            with contextlib.suppress(OSError):  # the manager is away or its buffer is full: the next message tells it
                self._socket.sendto(message.encode(), self._address)


def _watchdog_s(environ: MutableMapping[str, str]) -> float | None:
    microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6


def _line(text: str) -> str:
    return " ".join(text.split())

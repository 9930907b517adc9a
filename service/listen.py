"""The listening sockets: made by the supervisor first of all, so that a port in use is an error at once, and inherited by HTTP processes.

On Linux every HTTP process has a TCP socket of its own on the same port, among which the kernel spreads connections; since the supervisor
holds them too, connections that wait at a process that dies are served by its successor. Elsewhere, and on a Unix socket, all share one.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

from batching.errors import StartError

BACKLOG = 2048


def listen(host: str, port: int, uds: str | None, processes: int) -> list[socket.socket]:
    """One socket per HTTP process (the same one several times where it is shared). Raises StartError naming the address and the remedy."""
    if uds:
        return [_unix(Path(uds))] * processes
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if sys.platform != "linux":
            return [_tcp(family, host, port, spread=False)] * processes
        with _tcp(family, host, port, spread=False) as probe:  # sees other listeners, which a spread socket would silently join
            port = probe.getsockname()[1]
        return [_tcp(family, host, port, spread=True) for _ in range(processes)]
    except OSError as error:
        raise StartError(f"can't listen on {host}:{port}: {_reason(error)}") from error


def address(sockets: list[socket.socket], *, tls: bool) -> str:
    """The URL that the sockets answer at."""
    name = sockets[0].getsockname()
    if sockets[0].family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{'https' if tls else 'http'}://{host}:{name[1]}"


def close(sockets: list[socket.socket], uds: str | None) -> None:
    """Stop listening, and remove a Unix socket's file."""
    for one in sockets:
        one.close()
    if uds:
        Path(uds).unlink(missing_ok=True)


def _tcp(family: socket.AddressFamily, host: str, port: int, *, spread: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if spread:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    one.setblocking(False)
    return one


def _unix(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
            path.unlink()
        one.bind(str(path))
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise StartError(f"can't listen on {path}: {_reason(error)}") from error
    one.setblocking(False)
    return one


def _answers(path: Path) -> bool:
    """Whether somebody listens on the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "it is in use; stop what listens there or set RERANKER_PORT (or RERANKER_UDS)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted; ports below 1024 need a capability: set RERANKER_PORT"
    return os.strerror(error.errno) if error.errno else str(error)

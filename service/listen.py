"""The listening sockets: made by the supervisor first of all, so that a port in use is an error at once, and inherited by HTTP processes.

On Linux every HTTP process has a TCP socket of its own on the same port, among which the kernel spreads connections; since the supervisor
holds them too, connections that wait at a process that dies are served by its successor. Elsewhere, and on a Unix socket, all share one.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from batching.errors import SettingError, StartError

BACKLOG = 2048
LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a Unix socket's path: sun_path without its end."""


def listen(host: str, port: int, uds: str | None, processes: int) -> list[socket.socket]:
    """One socket per HTTP process (the same one several times where it is shared).

    Raises StartError naming the address and the remedy; SettingError where no later start could listen there either.
    """
    if uds:
        return [_unix(Path(uds))] * processes
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if sys.platform != "linux":
            return [_tcp(family, host, port, spread=False)] * processes
        with _tcp(family, host, port, spread=False) as probe:  # sees other listeners, which a spread socket would silently join
            port = probe.getsockname()[1]
        return [_tcp(family, host, port, spread=True) for _ in range(processes)]
    except (OSError, TypeError) as error:  # the second for a host that IDNA can't encode
        raise _tcp_error(host, port, error) from error


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
    except (OSError, TypeError):
        one.close()
        raise
    one.setblocking(False)
    return one


def _unix(path: Path) -> socket.socket:
    if size := max(0, len(os.fsencode(path)) - LONGEST_PATH):
        raise SettingError(f"RERANKER_UDS={str(path)!r} is {size} bytes too long for a socket's path, which takes {LONGEST_PATH}")
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        one.bind(str(path))
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise _unix_error(path, error) from error
    one.setblocking(False)
    return one


def _unix_error(path: Path, error: OSError) -> StartError:
    told = f"can't listen on RERANKER_UDS={str(path)!r}"
    if error.errno != errno.EADDRINUSE:
        return SettingError(f"{told}: {path.parent} is no directory that we may write to ({error.strerror})")
    if path.is_socket():
        return StartError(f"{told}: it is in use; stop what listens there or set another RERANKER_UDS")
    return SettingError(f"{told}: what is there is no socket, and is kept; remove it or set another path")


def _answers(path: Path) -> bool:
    """Whether somebody listens on the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _tcp_error(host: str, port: int, error: OSError | TypeError) -> StartError:
    told = f"can't listen on {host}:{port}"
    if isinstance(error, TypeError) or (isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN):
        reason = getattr(error, "strerror", None) or "not a host's name"
        return SettingError(f"{told}: {reason}; set RERANKER_HOST to an address of this machine")
    if error.errno == errno.EADDRINUSE:
        return StartError(f"{told}: it is in use; stop what listens there or set RERANKER_PORT (or RERANKER_UDS)")
    if error.errno in (errno.EACCES, errno.EPERM):
        return StartError(f"{told}: not permitted; ports below 1024 need a capability: set RERANKER_PORT")
    if error.errno == errno.EADDRNOTAVAIL:  # one that may come up later: no wrong setting, so that a service manager tries again
        return StartError(f"{told}: this machine has no such address; set RERANKER_HOST to one that it has")
    return StartError(f"{told}: {error.strerror or error}; set RERANKER_HOST or RERANKER_PORT")

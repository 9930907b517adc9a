"""Listening sockets that systemd made for us (`rerankd.socket`): they outlive a restart, so that callers wait instead of being refused.

One socket is shared by all HTTP processes; several, made by a unit with ReusePort=yes, are handed out in turn.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from batching.errors import StartError

FIRST = 3
"""SD_LISTEN_FDS_START."""


def inherited(environ: MutableMapping[str, str], processes: int, first: int = FIRST) -> list[socket.socket]:
    """Take over the sockets that LISTEN_PID and LISTEN_FDS name, one per HTTP process; none where there are none.

    The variables are removed, so that no child takes them for its own. Raises StartError for what is no listening stream socket.
    Protocol: sd_listen_fds(3).
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or count == "0":
        return []
    given = [_listener(descriptor) for descriptor in range(first, first + int(count))]
    return [given[index % len(given)] for index in range(processes)]


def _listener(descriptor: int) -> socket.socket:
    try:
        one = socket.socket(fileno=descriptor)
        listens = one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"descriptor {descriptor} of LISTEN_FDS is no socket ({error.strerror}); look at rerankd.socket") from error
    if not listens:
        one.close()
        raise StartError(f"descriptor {descriptor} of LISTEN_FDS is no listening stream socket; rerankd.socket takes ListenStream= only")
    one.set_inheritable(False)
    one.setblocking(False)
    return one

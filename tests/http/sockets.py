"""A fake model behind the real HTTP server on a real socket, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

from litestar import Litestar

from service.app import create_app
from service.http_process import server
from service.listen import address, close, listen
from tests.http.fakes import FakeModel, settings


class Live:
    """A server that runs; `address` is its URL."""

    def __init__(self, root: str, model: FakeModel, app: Litestar) -> None:
        self.address, self.model, self.app = root, model, app
        self.port = int(root.rpartition(":")[2]) if not root.startswith("unix:") else 0

    def until_held(self, size: int) -> None:
        """Wait until the server holds so many bytes of bodies; it will within ten seconds."""
        until = time.monotonic() + 10
        while (held := self.app.state.rerankd.bodies.bytes) != size:
            assert time.monotonic() < until, held
            time.sleep(0.01)

    def scored(self) -> int:
        """Calls that reached the queue so far."""
        return len(self.model.client.scored)

    def connect(self, context: ssl.SSLContext | None = None) -> socket.socket:
        """A connection to it."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return context.wrap_socket(plain, server_hostname="localhost") if context else plain

    def raw(self, sent: bytes, patience_s: float = 10.0) -> bytes:
        """Send bytes and give what comes until the other end closes, or nothing more for `patience_s`."""
        with self.connect() as one:
            one.settimeout(patience_s)
            return sent_and_read(one, sent)


def sent_and_read(one: socket.socket, sent: bytes) -> bytes:
    """Send bytes and give what comes until the end, a reset, or silence."""
    found = b""
    with contextlib.suppress(OSError):
        one.sendall(sent)
    with contextlib.suppress(OSError):
        while part := one.recv(65536):
            found += part
    return found


@contextlib.contextmanager
def live(header_timeout_s: float = 30.0, **values: Any) -> Iterator[Live]:
    """Serve with settings given as texts."""
    given, model = settings(**values), FakeModel()
    sockets = listen("127.0.0.1", 0, given.uds, 1)
    app, loop = create_app(given, [model.served], 0), asyncio.new_event_loop()
    its = sockets[0].dup()  # which the server closes itself
    granian = server(app, given, its, header_timeout_s)
    thread = threading.Thread(target=lambda: loop.run_until_complete(granian.serve()), daemon=True)
    thread.start()
    try:
        yield _up(Live(address(sockets, tls=bool(given.tls_cert)), model, app))
    finally:
        loop.call_soon_threadsafe(granian.stop)
        thread.join(20)
        loop.close()
        its.detach()
        close(sockets, given.uds)


def _up(one: Live) -> Live:
    until = time.monotonic() + 20
    while one.model.client.opened_at == 0.0 and time.monotonic() < until:
        time.sleep(0.02)
    return one

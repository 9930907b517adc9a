"""The client side of a benchmark: where the server is, a prepared request, a keep-alive connection that carries one at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self, cast

from service.load.http11 import Response, ResponseError, ResponseParser


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server listens: a host and port, or a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read http://host:port or unix:/path. Raises ValueError."""
        if url.startswith("unix:"):
            return cls(uds=url.removeprefix("unix:"))
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{url!r} is not http://host:port or unix:/path")
        return cls(host.strip("[]"), int(port))


def prepare(method: str, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request, made once and sent many times."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._parser = ResponseParser()
        self._answer: asyncio.Future[Response] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """Connect. Raises OSError."""
        loop = asyncio.get_running_loop()
        if target.uds:
            _, connection = await loop.create_unix_connection(cls, target.uds)
        else:
            _, connection = await loop.create_connection(cls, target.host, target.port)
        return connection

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> Response:
        """Send one prepared request and wait for its answer. Raises ConnectionError, ResponseError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser and hand over a whole response."""
        try:
            response = self._parser.feed(data)
        except ResponseError as error:
            self._fail(error)
            return
        if response is not None:
            self._finish(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a response that ends with the connection, or fail the one that is awaited."""
        response = self._parser.eof()
        if response is not None:
            self._finish(response)
        self._fail(exc or ConnectionResetError("the server closed the connection"))

    def _finish(self, response: Response) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)
        if not response.keep_alive:
            self.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()


async def get(target: Target, path: str) -> Response:
    """Fetch a path on a connection of its own. Raises OSError, ResponseError."""
    connection = await Connection.open(target)
    try:
        return await connection.send(prepare("GET", path, b""))
    finally:
        connection.close()

"""A bare HTTP/1.1 caller on asyncio: cheap enough to overload a service from the same machine, and rude where a test needs it."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Closed(ConnectionError):
    """The other end closed before a whole answer had come."""


class Caller:
    """One connection at a time, opened when needed and kept while the server keeps it."""

    def __init__(self, address: str) -> None:
        """`address`: `http://HOST:PORT`, or `unix:PATH`."""
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, whatever is under way on it."""
        if self._writer:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def send(self, path: str = "/health", body: bytes | None = None, **headers: str) -> None:
        """Send a request, a POST if it has a body, without waiting for its answer."""
        if self._writer is None or self._reader is None or self._writer.is_closing() or self._reader.at_eof():
            self.hang_up()
            self._reader, self._writer = await self._open()
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: test"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        await self._writer.drain()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.startswith("unix:"):
            return await asyncio.open_unix_connection(self._address.removeprefix("unix:"), limit=1 << 22)
        host, _, port = self._address.removeprefix("http://").rpartition(":")
        return await asyncio.open_connection(host, int(port), limit=1 << 22)

    async def answer(self, pause_s: float = 0.0) -> Answer:
        """Read one answer, with a pause before each 4 KiB of its body. Raises Closed."""
        reader = self._reader
        if reader is None:
            raise Closed("nothing was sent")
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            body, size = b"", int(headers.get("content-length", "0"))
            while len(body) < size:
                await asyncio.sleep(pause_s)
                body += await reader.readexactly(min(4096 if pause_s else size, size - len(body)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.hang_up()
            raise Closed(str(error)) from error
        if headers.get("connection", "").lower() == "close":
            self.hang_up()
        return Answer(int(head[0].split()[1]), headers, body)

    async def call(self, path: str = "/health", body: bytes | None = None, **headers: str) -> Answer:
        """Send and read. Raises Closed, or OSError while nobody listens."""
        try:
            await self.send(path, body, **headers)
        except (BrokenPipeError, ConnectionResetError) as error:
            self.hang_up()
            raise Closed(str(error)) from error
        return await self.answer()

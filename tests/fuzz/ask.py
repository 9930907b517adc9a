"""The application asked without a socket, and what every answer must be, whatever was sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar

from service.app import create_app
from service.failures import STATUSES
from tests.http.fakes import FakeModel, settings

MARKED = 422, 424
"""What text-embeddings-inference answers where others answer 400 and 500."""
TEXT = {"detail", "error", "message", "code"}
"""Where the dialects' errors say what was wrong."""


class Answered(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


class Asker:
    """An application with one fake model, on an event loop of its own. It ranks for real, all but the scores."""

    def __init__(self) -> None:
        self.model = FakeModel()
        self._loop = asyncio.new_event_loop()
        self._app: Litestar = create_app(settings(max_documents="50"), [self.model.served], 0)
        self._over = asyncio.Event()
        started = asyncio.Event()
        self._life = self._loop.create_task(self._live(started))
        self._loop.run_until_complete(started.wait())

    async def _live(self, started: asyncio.Event) -> None:
        async with self._app.lifespan():
            started.set()
            await self._over.wait()

    def close(self) -> None:
        """Stop the application."""
        self._over.set()
        self._loop.run_until_complete(self._life)
        self._loop.close()

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> Answered:
        """Post a body and check the answer. Raises AssertionError."""
        answer = self._loop.run_until_complete(self._ask(path, body, headers))
        check(answer, packed="msgpack" in headers.get("accept", headers.get("content-type", "")))
        assert self.model.client.reserved == 0, "tokens stay reserved"
        return answer

    async def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> Answered:
        parts: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": body, "more_body": False}])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            part = next(parts, None)
            return part if part is not None else await asyncio.get_running_loop().create_future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        began = time.perf_counter()
        await self._app(_scope(path, headers), receive, send)  # type: ignore[arg-type]
        spent = time.perf_counter() - began
        given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answered(sent[0]["status"], given, b"".join(part.get("body", b"") for part in sent[1:]), spent)


def check(answer: Answered, *, packed: bool) -> None:
    """Raise AssertionError unless this is an answer a client can work with."""
    told = f"{answer.status} {answer.body[:300]!r}"
    assert answer.status < 500, told
    assert answer.status in STATUSES + MARKED, told
    assert answer.headers["x-request-id"], told
    assert "total;dur=" in answer.headers["server-timing"], told
    assert answer.headers["content-type"].startswith("application/msgpack" if packed else "application/json"), told
    content = (msgspec.msgpack if packed else msgspec.json).decode(answer.body)
    if answer.status != 200:
        assert isinstance(content, dict), told
        assert TEXT & set(content), told
        assert len(answer.body) < 4000, told


def _scope(path: str, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "http_version": "1.1", "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("test", 80), "client": ("test", 1), "asgi": {"version": "3.0"}, "state": {},
    }  # fmt: skip

"""Reading a request's body whole and within its limit, and noticing a caller who hangs up while their answer is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType

from litestar.types import Receive

from batching.errors import Cancelled, InvalidRequest, TooLarge
from service.settings import PREFIX


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int, left_s: float) -> bytes:
    """Return the body. Raises TooLarge, before reading where the length is announced, Cancelled, InvalidRequest after `left_s` seconds."""
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(left_s):
            async for part in _parts(receive):
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError:
        raise InvalidRequest("body: it did not arrive within the time that the answer may take", "body") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the caller hung up while sending the body")
        if message["type"] != "http.request":
            raise InvalidRequest("body: not an HTTP body")
        yield message["body"]
        if not message.get("more_body", False):
            return


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"body: larger than the {limit} bytes allowed ({PREFIX}MAX_BODY_BYTES)", "body")


WATCH_AFTER_S = 0.02


class HangUp:
    """While its `async with` block runs, a caller who disconnects cancels it; the block then ends with Cancelled.

    The watch begins after WATCH_AFTER_S: most calls are answered by then, and spared its cost.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> HangUp:
        self._task = asyncio.current_task()
        self._alarm = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)
        return self

    def _begin(self) -> None:
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._alarm.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise Cancelled("the caller hung up")

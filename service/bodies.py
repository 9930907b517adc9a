"""Reading a request's body whole and within its limit, all of them within theirs, and noticing a caller who hangs up meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType

from litestar.types import Receive

from batching.errors import Cancelled, InvalidRequest, TooLarge, TooSlow
from service.held import Bound, Held
from service.settings import PREFIX
from service.sweep import sweep

MOST_BODIES, LEAST_BYTES = 8, 64 * 1024 * 1024
"""One HTTP process holds so many bodies of the largest size, or so many bytes where that is more."""


def bound(largest: int) -> Bound:
    """What one HTTP process holds of bodies, the largest of `largest` bytes, from their first byte to their answer.

    Admission counts tokens; slow senders have none yet, and of documents that are cut it counts a part only.
    """
    most = max(LEAST_BYTES, MOST_BODIES * largest)
    full = f"bodies under way take all of the {most:,} bytes that there are for them, see {PREFIX}MAX_BODY_BYTES"
    return Bound(most, full=full, too_large=lambda: _too_large(largest))


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int, left_s: float, held: Held) -> bytes:
    """Return the body. Raises TooLarge, before reading where the length is announced, Overloaded, Cancelled, TooSlow after `left_s`
    seconds.
    """
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    alarm = _Alarm(left_s)
    try:
        return await _read(receive, limit, held)
    except asyncio.CancelledError:
        if alarm.rang():
            raise TooSlow("body: it did not arrive within the time that the answer may take", "body") from None
        raise
    finally:
        sweep().discard(alarm)


async def _read(receive: Receive, limit: int, held: Held) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the caller hung up while sending the body")
        if message["type"] != "http.request":
            raise InvalidRequest("body: not an HTTP body")
        parts.append(message["body"])
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > limit:
            raise _too_large(limit)
        held.take(len(parts[-1]))
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Alarm:
    """Cancels the task that made it after `after_s`."""

    def __init__(self, after_s: float) -> None:
        self._task, self._rang = asyncio.current_task(), False
        sweep().add(self, after_s, self._ring)

    def _ring(self) -> None:
        self._rang = True
        if self._task is not None:
            self._task.cancel()

    def rang(self) -> bool:
        """Whether the cancellation that is under way is this alarm's alone; if so it is undone."""
        return self._rang and self._task is not None and self._task.uncancel() == 0


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
        sweep().add(self, WATCH_AFTER_S, self._begin)
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
        sweep().discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task is not None and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise Cancelled("the caller hung up")

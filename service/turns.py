"""Work that holds the event loop for a millisecond or more: one piece in each of the loop's turns, and timers and answers in between."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Whoever awaits `take` goes on when it is their turn, in the order in which they came; belongs to the running event loop."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait until no one else has taken this turn of the loop; what follows, up to the next `await`, runs in it alone."""
        loop = asyncio.get_running_loop()
        if self._taken:
            turn = loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        self._taken = True
        loop.call_soon(self._next)

    def _next(self) -> None:
        """The turn is over: it is the first one's who still waits, or nobody's."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False

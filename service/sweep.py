"""Many short alarms for the price of one timer: what is still there when its time has come is told so, at the next tick.

For alarms that hardly ever go off: adding and discarding one is a dictionary's work, where a timer of the event loop costs many times that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

TICK_S = 0.02


class Sweep:
    """Alarms of one event loop; it ticks only while there are any."""

    def __init__(self) -> None:
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: object, after_s: float, action: Callable[[], None]) -> None:
        """Call `action` once, after `after_s` seconds or up to a tick later, unless `key` is discarded before."""
        self._due[key] = (time.monotonic() + after_s, action)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, key: object) -> None:
        """Forget an alarm, if it is still there."""
        self._due.pop(key, None)

    def _tick(self) -> None:
        now = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick) if self._due else None
        for key in [key for key, (due, _) in self._due.items() if due <= now]:
            self._due.pop(key)[1]()


_sweeps: WeakKeyDictionary[asyncio.AbstractEventLoop, Sweep] = WeakKeyDictionary()


def sweep() -> Sweep:
    """The running event loop's."""
    loop = asyncio.get_running_loop()
    found = _sweeps.get(loop)
    if found is None:
        found = _sweeps[loop] = Sweep()
    return found

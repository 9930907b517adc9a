"""Memory that calls hold in one HTTP process, bounded for all of them together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from batching.errors import Overloaded, RerankdError

RETRY_AFTER_S = 1.0


class Bound:
    """At most `most_bytes` at once. Safe to use from threads."""

    def __init__(self, most_bytes: int, *, full: str, too_large: Callable[[], RerankdError]) -> None:
        """`full`: what is said where there is no room now; `too_large` makes the error of a call that alone would hold more than all."""
        self.most_bytes, self.bytes, self.lock = most_bytes, 0, threading.Lock()
        self.full, self.too_large = full, too_large

    @contextlib.contextmanager
    def hold(self) -> Iterator[Held]:
        """What a call's bytes are counted in, for as long as it lasts."""
        held = Held(self)
        try:
            yield held
        finally:
            held.release()


class Held:
    """What one call holds."""

    def __init__(self, bound: Bound) -> None:
        self._bound, self._bytes, self._over = bound, 0, False

    def take(self, size: int) -> None:
        """Count `size` bytes more. Raises Overloaded when they are not free now, `too_large` when one call may never hold so many."""
        bound = self._bound
        with bound.lock:
            if self._over:  # the call has ended; a thread that still works for it finds out here
                raise Overloaded("the call has ended")
            if self._bytes + size > bound.most_bytes:
                raise bound.too_large()
            if bound.bytes + size > bound.most_bytes:
                raise Overloaded(bound.full, RETRY_AFTER_S)
            bound.bytes += size
            self._bytes += size

    def release(self) -> None:
        """Give all of it back."""
        with self._bound.lock:
            self._bound.bytes -= self._bytes
            self._bytes, self._over = 0, True

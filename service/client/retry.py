"""When to try again: a pure decision. The clients sleep."""

from __future__ import annotations

import random

import msgspec

from service.client.errors import PASSING, RerankError


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Exponential back-off with full jitter: before retry n, up to `first_s` * 2^(n-1), at most `most_s`; Retry-After comes on top."""

    retries: int = 3
    first_s: float = 0.25
    most_s: float = 8.0

    def wait_s(self, tried: int, error: RerankError, left_s: float, chance: float | None = None) -> float | None:
        """Seconds to wait before the next try, None to give up. `tried` counts tries so far, `left_s` is what is left of the timeout.

        A Retry-After is waited for in full; where it does not fit into what is left, waiting would be in vain. `chance` in [0, 1) replaces
        the random number.
        """
        if tried > self.retries or not isinstance(error, PASSING):
            return None
        most = min(self.most_s, self.first_s * 2.0 ** (tried - 1))
        # Jitter spreads callers out; nothing secret hangs on it.
        wait = (random.random() if chance is None else chance) * most + (error.retry_after_s or 0.0)  # noqa: S311
        return wait if wait < left_s else None

"""The token budget in force: how much a batch may hold, lowered when the device's memory did not hold one. Pure."""

from __future__ import annotations

RECOVER_AFTER = 32
"""Nearly full batches in a row that must fit before a lowered budget grows again."""


class Budget:
    """The token budget in force: lowered when memory runs out, and recovered slowly."""

    def __init__(self, tokens: int) -> None:
        self._full = self.tokens = tokens
        self._good = 0

    def overflowed(self, tokens: int) -> None:
        """A batch of `tokens` did not fit."""
        self.tokens = max(1, min(self.tokens, tokens) // 2)
        self._good = 0

    def held(self, tokens: int) -> bool:
        """A batch of `tokens` fitted; enough that were nearly full earn an eighth more. Whether it grew."""
        if self.tokens < self._full and tokens > self.tokens * 3 // 4:
            self._good += 1
            if self._good == RECOVER_AFTER:
                self.tokens, self._good = min(self._full, self.tokens + max(1, self.tokens // 8)), 0
                return True
        return False

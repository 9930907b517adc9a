"""The token budget in force: how much a batch may hold, lowered when the device's memory did not hold one. Pure."""

from __future__ import annotations

RECOVER_AFTER = 32
"""Nearly full batches that must fit before a lowered budget grows again."""
NEARLY_FULL = 8
"""Other batches that say as much as a nearly full one. Where entries are so large that no batch is ever nearly full, all are such."""


class Budget:
    """The token budget in force: lowered when memory runs out, and recovered slowly."""

    def __init__(self, tokens: int) -> None:
        self._full = self.tokens = tokens
        self._good = 0

    def overflowed(self, tokens: int) -> None:
        """A batch that cost `tokens` did not fit. One over the budget, of a single entry, says little of those within."""
        self.tokens = max(1, min(self.tokens, tokens // 2))
        self._good = 0

    def held(self, tokens: int) -> bool:
        """A batch that cost `tokens` fitted; enough of them earn an eighth more. Whether it grew."""
        if self.tokens < self._full:
            self._good += NEARLY_FULL if tokens > self.tokens * 3 // 4 else 1
            if self._good >= RECOVER_AFTER * NEARLY_FULL:
                self.tokens, self._good = min(self._full, self.tokens + max(1, self.tokens // 8)), 0
                return True
        return False

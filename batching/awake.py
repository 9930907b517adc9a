"""Whether a silence is somebody's fault: a machine that stood still (a suspended laptop, a paused guest) makes everybody silent."""

from __future__ import annotations

ASLEEP_S = 2.0
"""A longer gap between two looks means that the whole machine stood still, not that those who are watched hang."""


class Watch:
    """How long somebody who looks several times a second has looked without a gap."""

    def __init__(self) -> None:
        self._looked_at = self._since = float("-inf")

    def look(self, now: float) -> float:
        """Look at `now` (monotonic seconds): since when without a gap, in seconds. Silence from before that says nothing."""
        if now - self._looked_at > ASLEEP_S:
            self._since = now
        self._looked_at = now
        return now - self._since

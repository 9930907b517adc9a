"""What waits, gathered from all arenas as the planner reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batching.arena import Arena
from batching.arena_layout import ROW
from batching.planner import Rows, Waiting
from batching.states import WAITING


@dataclass(frozen=True, slots=True)
class Found:
    """Waiting entries: where each lies (intp [n] each), their fields (ROW [n]), and of these what the planner reads."""

    arenas: NDArray[np.intp]
    rows: NDArray[np.intp]
    table: NDArray[np.void]
    waiting: Waiting
    one_arena: bool

    def by_arena(self, which: Rows) -> list[tuple[int, Rows]]:
        """The chosen ones of each arena that has any, as (arena, indices)."""
        if not len(which):
            return []
        if self.one_arena:
            return [(int(self.arenas[0]), which)]
        arenas = self.arenas[which]
        return [(arena, which[arenas == arena]) for arena in sorted(set(arenas.tolist()))]


def find_waiting(arenas: list[Arena]) -> Found | None:
    """All waiting entries; None when there are none."""
    spans = [(index, rows) for index, arena in enumerate(arenas) if len(rows := arena.in_state(WAITING))]
    if not spans:
        return None
    lines = [arenas[index].gather(rows) for index, rows in spans]
    table = (lines[0] if len(lines) == 1 else np.concatenate(lines)).view(ROW)[:, 0]
    return Found(
        arenas=np.concatenate([np.full(len(rows), index, np.intp) for index, rows in spans]),
        rows=spans[0][1] if len(spans) == 1 else np.concatenate([rows for _, rows in spans]),
        table=table,
        waiting=Waiting(
            request=table["request"],
            start_tag=table["start_tag"],
            priority=table["priority"],
            cost=table["cost"],
            scores=table["scores"],
            deadline=table["deadline"],
            cancelled=table["cancel"] != 0,
            attempts=table["attempts"],
        ),
        one_arena=len(spans) == 1,
    )

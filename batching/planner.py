"""Which waiting entries make the next batch. One pure function: no clock, no lock, no I/O, no state.

Start-time fair queueing over requests: an entry's start tag is the virtual time when its request arrived plus the cost of its request's
earlier entries, and the lowest tag goes first. So a small newcomer passes the tails of any number of large requests. With each step of
priority an entry stands back by its own cost, so that more urgent newcomers pass it for a while, and not for ever. Virtual time
advances by the work leased, shared among the requests that wait: were it only the tag last leased, newcomers that together fill the
device would all get the same tag and the tails would starve behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The waiting entries, one value of each array per entry; all arrays have length [n]."""

    request: NDArray[np.uint64]
    start_tag: NDArray[np.float64]
    priority: NDArray[np.uint32]
    cost: NDArray[np.uint32]
    """Tokens, real ones where the model packs and padded ones where it pads."""
    scores: NDArray[np.uint32]
    deadline: NDArray[np.float64]
    cancelled: NDArray[np.bool_]
    attempts: NDArray[np.uint32]
    """Above 0 where a worker died while it scored this entry."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may hold. `sharers`: idle workers, this one included, among which waiting work is divided."""

    budget_tokens: int
    max_pairs: int | None = None
    sharers: int = 1
    suspects: bool = True
    """Whether an entry that was there when a worker died may be taken (always alone). If not, and it is next, nothing is taken."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Indices into `Waiting`: `take` in order of service, `drop` for those nobody waits for; and the virtual time after it."""

    take: Rows
    drop: Rows
    virtual_time: float


PRIORITY_WEIGHT = 1.0
"""How much more each step of priority makes an entry cost in virtual time."""
MOST_PRIORITY = 1000
"""A larger number weighs no more: floating point could not tell requests apart so far ahead in virtual time."""
FILL_LOOK = 64
"""How many entries behind the first that does not fit are tried for the rest of the budget."""


def plan(waiting: Waiting, limits: Limits, now: float, virtual_time: float) -> Plan:
    """Choose the next batch: never over the budget, but for a single entry that alone exceeds it.

    `now` and deadlines in seconds of one clock. Expired and cancelled entries are dropped, never taken.
    """
    unwanted = waiting.cancelled | (waiting.deadline <= now)
    drop = unwanted.nonzero()[0]
    live = (~unwanted).nonzero()[0]
    order = _in_turn(live, waiting) if len(live) > 1 else live
    if not live.size or (waiting.attempts[order[0]] and not limits.suspects):
        return Plan(order[:0], drop, virtual_time)
    first = order[0]
    alone = waiting.attempts[first] or len(live) == 1
    take = order[:1] if alone else _fill(order[waiting.attempts[order] == 0], waiting, limits)
    active = len(set(waiting.request[live].tolist()))
    passed = max(virtual_time, float(waiting.start_tag[first]))
    return Plan(take, drop, passed + float(waiting.cost[take].sum()) / active)


def _in_turn(live: Rows, waiting: Waiting) -> Rows:
    """`live`, the next first: by tag, each as far back as its priority says; then by priority, then as they lie."""
    priority = waiting.priority[live]
    tag = waiting.start_tag[live]
    if priority.any():
        tag = tag + waiting.cost[live] * (PRIORITY_WEIGHT * np.minimum(priority, MOST_PRIORITY))
    return live[np.lexsort((live, priority, tag))]


def _fill(order: Rows, waiting: Waiting, limits: Limits) -> Rows:
    """The longest run from the front of `order` within the limits, then whatever close behind it still fits; at least one entry."""
    cost = waiting.cost[order].astype(np.int64)
    pairs = waiting.scores[order].astype(np.int64)
    budget = limits.budget_tokens
    if limits.sharers > 1:
        budget = min(budget, -(-int(cost.sum()) // limits.sharers))
    max_pairs = limits.max_pairs or int(pairs.sum())
    fits = (np.cumsum(cost) <= budget) & (np.cumsum(pairs) <= max_pairs)
    count = max(1, int(fits.sum()))
    left, room = budget - int(cost[:count].sum()), max_pairs - int(pairs[:count].sum())
    more = []
    for place in range(count, min(count + FILL_LOOK, len(order)) if left > 0 and room > 0 else count):
        if cost[place] <= left and pairs[place] <= room:
            more.append(place)
            left, room = left - int(cost[place]), room - int(pairs[place])
    return np.concatenate((order[:count], order[more])) if more else order[:count]

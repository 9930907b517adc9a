"""How many workers a load needs, from a measured curve of batch sizes: pure arithmetic, no clock and no device.

The p99 of a request is taken as the sum, on the safe side, of

- waiting for a worker: M/G/c, by Allen and Cunneen's mean wait with Sakasegawa's probability of waiting, its tail exponential;
- the batch under way that a newcomer waits for, in full, where workers are all busy more often than 1 time in 100;
- its own batches, for a request as large as 99 in 100 are (log-normal), spread over the workers that are free on average;
- a constant for HTTP and tokenizing.

Batches grow with the load, as the planner lets them: a worker's batch is what comes while it runs the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from batching.calibrate import Point

TAIL = 0.01
Z99 = 2.326
"""The normal distribution's 99th percentile, in standard deviations."""
ROUNDS = 60
MANY = 1_000_000


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: requests a second, documents of one, tokens of one pair (specials included), and the p99 in seconds."""

    rate: float
    documents: float
    tokens: float
    p99_s: float

    @property
    def request_tokens(self) -> float:
        """Tokens of a request, on average."""
        return self.documents * self.tokens

    @property
    def tokens_s(self) -> float:
        """Tokens a second."""
        return self.rate * self.request_tokens


class Assumed(msgspec.Struct, frozen=True, kw_only=True):
    """What the curve does not tell."""

    efficiency: float = 0.9
    """The part of the curve's rate that is left through HTTP, with all workers busy."""
    overhead_s: float = 0.003
    """HTTP and tokenizing of one request."""
    spread: float = 0.6
    """Coefficient of variation of a request's tokens."""
    most_busy: float = 0.9
    """No plan counts on workers that are busier than this, however late an answer may be."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A number of workers under a demand; times in seconds."""

    workers: int
    busy: float
    batch_tokens: float
    waiting_s: float
    under_way_s: float
    own_s: float
    overhead_s: float

    @property
    def p99_s(self) -> float:
        """Of a request, from its arrival to its answer."""
        return self.waiting_s + self.under_way_s + self.own_s + self.overhead_s


class Machine:
    """One worker, as its curve says: batches up to `budget_tokens`, at `efficiency` of the measured rate. Raises ValueError."""

    def __init__(self, curve: Sequence[Point], budget_tokens: int, efficiency: float = 1.0) -> None:
        ordered = sorted(curve, key=lambda point: point.tokens)
        kept = [point for point in ordered if point.tokens <= budget_tokens] or ordered[:1]
        if not kept or not 0 < efficiency <= 1:
            raise ValueError("a curve needs a point, an efficiency must be within 0..1")
        slowest = 0.0
        self._points: list[tuple[float, float]] = []
        for point in kept:  # a larger batch that was quicker was luck
            slowest = max(slowest, point.seconds / efficiency)
            self._points.append((float(point.tokens), slowest))
        self.largest = self._points[-1][0]
        self.peak = max(tokens / seconds for tokens, seconds in self._points)
        """Tokens a second at the best."""

    def seconds(self, tokens: float) -> float:
        """Return what a batch of so many tokens takes: between the measured sizes on a line, below the smallest as long as that."""
        before = self._points[0]
        for point in self._points:
            if tokens <= point[0]:
                share = (tokens - before[0]) / (point[0] - before[0]) if point[0] > before[0] and tokens > before[0] else 0.0
                return before[1] + share * (point[1] - before[1]) if point != before else point[1]
            before = point
        return before[1] * tokens / before[0]

    def batch(self, request_tokens: float, tokens_s: float) -> float:
        """Return the batch that a worker runs under so many tokens a second: at least one request, growing to what comes meanwhile."""
        least = min(request_tokens, self.largest)
        before, lacking = least, tokens_s * self.seconds(least) - least
        if lacking <= 0:
            return least
        for size, seconds in self._points:
            if size > least and (left := tokens_s * seconds - size) <= 0:
                return before + (size - before) * lacking / (lacking - left)
            if size > least:
                before, lacking = size, left
        return self.largest


def estimate(demand: Demand, machine: Machine, workers: int, assumed: Assumed) -> Estimate:
    """Return how `workers` would do; its p99 is infinite where they can't keep up."""
    offered = demand.tokens_s / machine.peak
    busy = offered / workers
    batch = machine.batch(demand.request_tokens, demand.tokens_s / workers)
    batch_s = machine.seconds(batch)
    if busy >= 1:
        return Estimate(workers=workers, busy=busy, batch_tokens=batch, waiting_s=math.inf, under_way_s=batch_s, own_s=batch_s,
                        overhead_s=assumed.overhead_s)  # fmt: skip
    waits = busy ** (math.sqrt(2 * (workers + 1)) - 1)
    mean_wait = (1 + assumed.spread**2) / 2 * demand.request_tokens / machine.peak / (workers - offered)
    large = demand.request_tokens * _large(assumed.spread)
    own_batch = max(batch, min(large, machine.largest))
    batches = max(1.0, large / own_batch)
    together = min(batches, max(1.0, workers - offered))
    return Estimate(
        workers=workers,
        busy=busy,
        batch_tokens=batch,
        waiting_s=mean_wait * math.log(waits / TAIL) if waits > TAIL else 0.0,
        under_way_s=batch_s if waits > TAIL else 0.0,
        own_s=batches / together * machine.seconds(own_batch),
        overhead_s=assumed.overhead_s,
    )


def holds(found: Estimate, demand: Demand, assumed: Assumed) -> bool:
    """Whether the p99 is kept, by workers that are not busier than a plan may count on."""
    return found.busy <= assumed.most_busy and found.p99_s <= demand.p99_s


def needed(demand: Demand, machine: Machine, assumed: Assumed) -> Estimate | None:
    """Return the fewest workers that hold (above 64: to 2 %), or None where no number of them does: one request alone takes too long."""
    if not holds(estimate(demand, machine, MANY * max(1, math.ceil(demand.tokens_s / machine.peak)), assumed), demand, assumed):
        return None
    workers = max(1, math.ceil(demand.tokens_s / machine.peak / assumed.most_busy))
    while not holds(found := estimate(demand, machine, workers, assumed), demand, assumed):
        workers += max(1, workers // 64)
    return found


def most_rate(demand: Demand, machine: Machine, workers: int, assumed: Assumed) -> float:
    """Return the requests a second up to which so many workers hold; 0 where they never do."""
    low, high = 0.0, workers * machine.peak / demand.request_tokens
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        asked = msgspec.structs.replace(demand, rate=middle)
        low, high = (middle, high) if holds(estimate(asked, machine, workers, assumed), asked, assumed) else (low, middle)
    return low


def _large(spread: float) -> float:
    """How much larger than the mean 99 in 100 requests at most are, log-normal with this coefficient of variation."""
    sigma = math.sqrt(math.log1p(spread**2))
    return math.exp(Z99 * sigma - sigma**2 / 2)

"""Pure arithmetic of a run: percentiles, rates, arrival schedules, fitted exponents."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0..1) of the values do not exceed; NaN of nothing.

    The nearest-rank definition: always a value that was measured, never one in between.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share} is not within 0..1")
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def poisson_arrivals(rate: float, seed: int) -> Iterator[float]:
    """Yield arrival times in seconds from 0: independent callers, `rate` a second on average, without end."""
    if rate <= 0:
        raise ValueError(f"rate {rate} is not above 0")
    rng = random.Random(f"arrivals/{seed}")  # noqa: S311  arrivals, no secret
    now = 0.0
    while True:
        now += rng.expovariate(rate)
        yield now


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return b of cost = a * size**b by least squares on logarithms; 1 is linear growth."""
    x = [math.log(size) for size in sizes]
    y = [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - mean_x) ** 2 for value in x)
    if spread == 0:
        raise ValueError("all sizes are the same")
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. `status` 0 is no HTTP answer at all; `finished_s` counts from the run's start."""

    status: int
    latency_s: float
    finished_s: float
    pairs: int
    tokens: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in numbers. Latencies are of the answers with status 200; rates count only those too."""

    seconds: float
    requests: int
    answered: int
    pairs_s: float
    tokens_s: float
    requests_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Requests without a 200."""
        return self.requests - self.answered


def summarize(answers: Sequence[Answer], seconds: float) -> Summary:
    """Boil a run down; `seconds` is from the first request's start to the last answer's end."""
    good = [answer for answer in answers if answer.status == 200]
    latencies = [answer.latency_s * 1e3 for answer in good]
    per_second = 1 / seconds if seconds > 0 else math.nan
    return Summary(
        seconds=seconds,
        requests=len(answers),
        answered=len(good),
        pairs_s=sum(answer.pairs for answer in good) * per_second,
        tokens_s=sum(answer.tokens for answer in good) * per_second,
        requests_s=len(good) * per_second,
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        max_ms=max(latencies, default=math.nan),
        statuses={str(status): count for status, count in sorted(Counter(answer.status for answer in answers).items())},
        reasons=dict(Counter(answer.reason for answer in answers if answer.reason).most_common(5)),
    )

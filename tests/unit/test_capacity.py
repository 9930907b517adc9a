"""How many workers a load needs: against a simulated queue, and the laws that any such answer must keep."""

from __future__ import annotations

import heapq
import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.calibrate import Point
from service.capacity import Assumed, Demand, Machine, estimate, holds, most_rate, needed
from service.load.stats import percentile

CURVE = [Point(256, 0.016), Point(512, 0.026), Point(1024, 0.050), Point(2048, 0.099)]
machines = st.tuples(st.floats(0.001, 0.2), st.lists(st.floats(1.0, 2.2), min_size=1, max_size=8), st.floats(0.3, 1.0)).map(
    lambda drawn: Machine(
        [Point(256 << step, drawn[0] * math.prod(drawn[1][: step + 1])) for step in range(len(drawn[1]))], 256 << len(drawn[1]), drawn[2]
    )
)
demands = st.builds(
    lambda rate, documents, tokens, p99_s: Demand(rate=rate, documents=documents, tokens=tokens, p99_s=p99_s),
    st.floats(0.1, 200), st.floats(1, 100), st.floats(8, 512), st.floats(0.05, 20),
)  # fmt: skip
assumptions = st.builds(lambda spread: Assumed(spread=spread), st.floats(0, 2))


@given(machines, demands, assumptions)
def test_the_answer_holds_and_one_fewer_does_not(machine: Machine, demand: Demand, assumed: Assumed) -> None:
    """Enough workers are never too few, and up to 64 never one too many."""
    found = needed(demand, machine, assumed)
    if found is None:
        idle = estimate(msgspec.structs.replace(demand, rate=1e-9), machine, 1_000_000, assumed)
        assert idle.p99_s > demand.p99_s * 0.999
        return
    assert holds(found, demand, assumed)
    assert found.busy <= assumed.most_busy
    if 1 < found.workers <= 64:
        assert not holds(estimate(demand, machine, found.workers - 1, assumed), demand, assumed)


@given(machines, demands)
def test_more_load_or_less_time_never_needs_fewer(machine: Machine, demand: Demand) -> None:
    """Twice the rate needs at least as many workers; so does half the time."""
    found = needed(demand, machine, Assumed())
    if found is None or found.workers >= 50:  # nothing to compare with, or too long to search
        return
    twice = needed(msgspec.structs.replace(demand, rate=demand.rate * 2), machine, Assumed())
    assert twice is None or twice.workers >= found.workers
    sooner = needed(msgspec.structs.replace(demand, p99_s=demand.p99_s / 2), machine, Assumed())
    assert sooner is None or sooner.workers >= found.workers


@given(machines, demands)
def test_the_rate_that_they_hold_is_at_least_what_was_asked(machine: Machine, demand: Demand) -> None:
    """The answer's own limit lies above the demand, and just above that limit they hold no more."""
    found = needed(demand, machine, Assumed())
    if found is None:
        return
    most = most_rate(demand, machine, found.workers, Assumed())
    above = msgspec.structs.replace(demand, rate=most * 1.001)
    assert not holds(estimate(above, machine, found.workers, Assumed()), above, Assumed())


@given(machines, st.floats(1, 1e6))
def test_a_batch_of_a_measured_size_takes_what_was_measured(machine: Machine, tokens: float) -> None:
    """Times never fall as batches grow, and no rate exceeds the peak."""
    assert machine.seconds(tokens) <= machine.seconds(tokens * 1.5) * (1 + 1e-9)
    assert tokens / machine.seconds(tokens) <= machine.peak * (1 + 1e-9)


def test_a_curve_is_read_between_and_outside_its_points() -> None:
    """On a line between; below the smallest as long as it; above the largest in proportion; never above the budget."""
    machine = Machine(CURVE, 4096)
    assert [machine.seconds(tokens) for tokens in (1, 256, 384, 512, 2048, 4096)] == pytest.approx(
        [0.016, 0.016, 0.021, 0.026, 0.099, 0.198]
    )
    assert Machine(CURVE, 700).largest == 512
    assert Machine(CURVE, 16).largest == 256
    assert Machine(CURVE, 4096, 0.5).peak == pytest.approx(machine.peak / 2)
    with pytest.raises(ValueError, match="curve"):
        Machine([], 512)


def test_batches_grow_with_the_load() -> None:
    """An idle worker runs a request alone; a busy one what came meanwhile; never more than its largest."""
    machine = Machine(CURVE, 2048)
    assert machine.batch(300, 1.0) == 300
    size = machine.batch(300, 20_400)
    assert 512 < size < 1024
    assert 20_400 * machine.seconds(size) == pytest.approx(size)
    assert machine.batch(300, 1e9) == 2048
    assert machine.batch(9000, 1.0) == 2048


def test_known_plans() -> None:
    """By hand: 20,000 tokens/s on workers of 18,000 at 90 % take two; a p99 below one batch is out of reach."""
    machine, assumed = Machine(CURVE, 2048, 0.9), Assumed()
    demand = Demand(rate=100, documents=2, tokens=100, p99_s=1.0)
    found = needed(demand, machine, assumed)
    assert found is not None
    assert found.workers == 2
    assert found.busy == pytest.approx(20_000 / (2 * 0.9 * 2048 / 0.099))
    assert needed(msgspec.structs.replace(demand, p99_s=0.01), machine, assumed) is None


def _simulated_p99(demand: Demand, machine: Machine, workers: int, spread: float, requests: int) -> float:
    """A first-come queue of whole requests, each alone in its batches on one worker: the plainest service of all."""
    rng = random.Random(5)
    sigma = math.sqrt(math.log1p(spread**2))
    free = [0.0] * workers
    now, took = 0.0, []
    for _ in range(requests):
        now += rng.expovariate(demand.rate)
        tokens = demand.request_tokens * rng.lognormvariate(-(sigma**2) / 2, sigma)
        whole, rest = divmod(tokens, machine.largest)
        begins = max(now, heapq.heappop(free))
        ends = begins + whole * machine.seconds(machine.largest) + (machine.seconds(rest) if rest else 0.0)
        heapq.heappush(free, ends)
        took.append(ends - now)
    return percentile(took, 0.99)


@pytest.mark.parametrize(("rate", "documents", "p99_s"), [(4, 20, 1.0), (12, 20, 1.0), (60, 20, 0.8), (2, 100, 3.0)])
def test_a_simulated_queue_keeps_the_p99(rate: float, documents: float, p99_s: float) -> None:
    """Requests that never share a batch do worse than ours, and even they keep the p99 with the workers that a plan gives."""
    machine, assumed = Machine(CURVE, 2048, 0.9), Assumed()
    demand = Demand(rate=rate, documents=documents, tokens=100, p99_s=p99_s)
    found = needed(demand, machine, assumed)
    assert found is not None
    simulated = _simulated_p99(demand, machine, found.workers, assumed.spread, 40_000)
    assert simulated <= p99_s
    assert found.p99_s <= 4 * simulated, "safe, but of no use"

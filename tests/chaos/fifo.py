"""First come, first served: the planner that the product does not have, for comparison. A worker that loads this scorer plans like that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import batching.queue
from batching.planner import Limits, Plan, Waiting, plan
from tests.fakes import FakeScorer


def first_come(waiting: Waiting, limits: Limits, now: float, virtual_time: float) -> Plan:
    """The product's plan, but by the order in which requests came: their numbers grow within one HTTP process."""
    tags = (waiting.request - waiting.request.min()).astype(np.float64)
    return replace(plan(replace(waiting, start_tag=tags), limits, now, 0.0), virtual_time=virtual_time)


def make(options: dict[str, object]) -> FakeScorer:
    """The factory; it changes this worker process only."""
    batching.queue.plan = first_come
    return FakeScorer(options)

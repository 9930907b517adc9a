"""One run of the load generator: what is sent, how long, and the summary of what came back.

Rates count what was finished inside the measured window, which begins after the warm-up and in which callers never pause, so that work
under way at either edge cancels out. With `requests` exactly that many are sent and the time until the last answer counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from service.load.connection import Target, prepare
from service.load.generator import Bounds, Generator, Payload
from service.load.shapes import SHAPES, encode_body
from service.load.stats import Answer, Summary, summarize
from service.load.workload import Request


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, as the command line states it. `rate` makes it an open loop; times in seconds."""

    url: str
    dialect: str = "native"
    callers: int = 8
    rate: float | None = None
    warmup_s: float = 2.0
    seconds: float = 10.0
    requests: int | None = None
    timeout_s: float = 60.0
    connections: int = 1024
    seed: int = 0
    check: bool = True
    headers: tuple[str, ...] = ()


def payloads(plan: Plan, requests: Sequence[Request], tokens: Sequence[int] | None = None) -> list[Payload]:
    """Prepare the bytes of every request in the plan's dialect."""
    shape = SHAPES[plan.dialect]
    extra = dict(part.split(":", 1) for part in plan.headers)
    counts = tokens or [0] * len(requests)
    return [
        Payload(prepare("POST", shape.path, encode_body(shape, request), extra), len(request.documents), count)
        for request, count in zip(requests, counts, strict=True)
    ]


def inside(answers: list[Answer], start_s: float, end_s: float, *, by_arrival: bool) -> list[Answer]:
    """Keep the answers that finished (closed loop) or were due (open loop) within the window."""
    return [a for a in answers if start_s <= (a.finished_s - a.latency_s if by_arrival else a.finished_s) < end_s]


async def run(plan: Plan, prepared: list[Payload]) -> tuple[Summary, list[Answer]]:
    """Drive one run; return its summary and every answer, those of the warm-up included."""
    target, shape = Target.parse(plan.url), SHAPES[plan.dialect]

    def generator(seconds: float, requests: int | None) -> Generator:
        bounds = Bounds(seconds, requests, plan.timeout_s, plan.connections)
        return Generator(target, prepared, shape, bounds, check=plan.check)

    warm: list[Answer] = []
    if plan.requests is not None and plan.warmup_s:
        warming = generator(plan.warmup_s, None)
        await warming.closed(plan.callers)
        warm = warming.answers
    end = plan.seconds if plan.requests is not None else plan.warmup_s + plan.seconds
    main = generator(end, plan.requests)
    took = await (main.open(plan.rate, plan.seed) if plan.rate else main.closed(plan.callers))
    total = warm + main.answers
    if plan.requests is not None:
        return summarize(main.answers, took), total
    window = inside(main.answers, plan.warmup_s, end, by_arrival=bool(plan.rate))
    return summarize(window, max(took, end) - plan.warmup_s if plan.rate else plan.seconds), total


def measured(plan: Plan, prepared: list[Payload]) -> tuple[Summary, dict[str, float]]:
    """Run a plan here, on uvloop where it is installed.

    Return its summary, the good answers in all (warm-up included), and the cores that the generator itself used.
    """
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    used, began = time.process_time(), time.perf_counter()
    with asyncio.Runner(loop_factory=factory) as runner:
        summary, total = runner.run(run(plan, prepared))
    own = (time.process_time() - used) / (time.perf_counter() - began)
    good = [answer for answer in total if answer.status == 200]
    totals = {"total": len(good), "total_pairs": sum(answer.pairs for answer in good)}
    return summary, {**totals, "generator_cores": round(own, 3)}


def row(summary: Summary) -> dict[str, Any]:
    """Lay a summary out as a table's row."""
    fields = {
        name: value for name, value in asdict(summary).items() if name not in ("statuses", "reasons", "requests", "answered", "max_ms")
    }
    return {**fields, "errors": summary.errors}

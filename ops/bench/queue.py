"""The queue alone, no HTTP and a scorer that costs nothing: `python -m ops.bench.queue`.

One producer process with one event loop, one worker process. Idle: one entry at a time, from `score()` to its scores. Busy: so many
requests in flight that each is replaced when it is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from batching.client import QueueClient
from batching.lifeline import Lifeline
from batching.pool import Pool, WorkerSpec
from batching.queue_files import make_queue, queue_shape
from batching.restart import Policy
from batching.types import Sequences
from ops.bench import options, report
from service.load.stats import percentile
from service.runtime_dir import base

GOAL_P50_US, GOAL_ENTRIES_S = 100.0, 50_000.0
IN_FLIGHT = 32
TIMEOUT_S = 30.0


def request(pairs: int, tokens: int) -> Sequences:
    """Make a request of so many pairs of so many tokens each."""
    lengths = np.full(pairs, tokens, np.int32)
    return Sequences(np.ones(pairs * tokens, np.int32), lengths, np.zeros(pairs, np.int32), shared=False, scores=pairs)


@contextlib.asynccontextmanager
async def running_queue(workers: int) -> AsyncIterator[QueueClient]:
    """Make a queue with costless workers; yields its client once they are ready."""
    with tempfile.TemporaryDirectory(prefix="rerankd-bench-", dir=base(dict(os.environ), None)) as made:
        directory = Path(made) / "0"
        make_queue(directory, queue_shape(workers=workers, owners=1, limit_tokens=4_194_304, max_request_scores=2000))
        path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        spec = WorkerSpec(factory="ops.bench.costless:make", options={"budget_tokens": 16384}, environment={"PYTHONPATH": path})
        lifeline = Lifeline()
        pool = Pool(directory, [spec] * workers, Policy(), lifeline)
        try:
            while not all(worker.state == "ready" for worker in pool.workers()):
                pool.poll()
                await asyncio.sleep(0.05)
            client = await QueueClient.open(directory, 0)
            yield client
            await client.close()
        finally:
            pool.stop(5.0)
            pool.close()
            lifeline.close()


async def idle_us(client: QueueClient, entry: Sequences, count: int) -> list[float]:
    """Return the microseconds of each of `count` round trips, one after another."""
    took = []
    for number in range(count + count // 10):
        began = time.perf_counter()
        await client.score(entry, deadline=time.monotonic() + TIMEOUT_S)
        if number >= count // 10:
            took.append((time.perf_counter() - began) * 1e6)
    return took


async def busy_rate(client: QueueClient, entry: Sequences, in_flight: int, seconds: float) -> float:
    """Return the requests answered per second with so many in flight."""
    done = 0
    until = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await client.score(entry, deadline=time.monotonic() + TIMEOUT_S)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return done / (time.perf_counter() - began)


async def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both, round by round, and keep each round as a row."""
    entry = request(args.pairs, args.tokens)
    rows = []
    async with running_queue(args.workers) as client:
        for number in range(1, args.rounds + 1):
            took = await idle_us(client, entry, args.count)
            rate = await busy_rate(client, entry, args.in_flight, args.seconds)
            rows.append(
                {
                    "round": number,
                    "idle_p50_us": percentile(took, 0.5),
                    "idle_p99_us": percentile(took, 0.99),
                    "entries_s": rate,
                    "pairs_s": rate * args.pairs,
                }
            )
    return rows


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("queue", __doc__)
    parser.add_argument("--pairs", type=int, default=1, help="pairs of an entry")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a pair; an entry must stay small enough not to be cut")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="requests in flight when busy")
    parser.add_argument("--workers", type=int, default=1, help="worker processes")
    parser.add_argument("--count", type=int, default=2000, help="idle round trips of a round")
    parser.add_argument("--seconds", type=float, default=2.0, help="busy seconds of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds")
    return parser.parse_args()


def main() -> int:
    """Measure the queue and print it."""
    args = parse()
    facts = report.context(("rerankd", "numpy", "uvloop"))
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(measure(args))
    title = f"queue alone: workers {args.workers}, pairs per entry {args.pairs}, tokens per pair {args.tokens}, in flight {args.in_flight}"
    notes = [f"goals: idle p50 at most {GOAL_P50_US:g} us; at least {GOAL_ENTRIES_S:,.0f} entries/s with {IN_FLIGHT} in flight"]
    report.show(title, rows, facts, notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

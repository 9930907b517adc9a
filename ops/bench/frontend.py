"""The front end by itself, its scorer costing nothing: `python -m ops.bench.frontend idle scaling metrics memory`, by default all four.

idle: what HTTP, tokenizing and queue add to a forward, one caller, 10 short documents. scaling: requests with one HTTP process and with
more, and how late their event loops run (`--pinned`: all of it, load and scorer too, on as many cores as there are HTTP processes, as one
process already tokenizes in several threads). metrics: how long /metrics takes under load. memory: what is resident, pages that processes
share counted once, with BERT's vocabulary or `--model`'s. Token caches are off. Linux only for the last.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ops.bench import load, options, report
from ops.bench.beats import Beats
from ops.bench.models import cache_directory, model_path
from ops.bench.serving import Running, costless_command, serving
from service.load.connection import Connection, Target, prepare
from service.load.workload import SHORT, Shape, make_requests

TEN_SHORT = Shape(median_words=12, sigma=0.0, query_words=(6, 6), documents=(10, 10))
SCRAPE_EVERY_S = 0.1
Row = dict[str, Any]


class Bench:
    """One run: the model and how the service is started and loaded."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.directory = (args.directory or cache_directory()).resolve()
        self.model = args.model or model_path("minilm-l6", self.directory / "models")

    @contextlib.contextmanager
    def serving(self, processes: int) -> Iterator[tuple[Running, Path]]:
        """Run the service; yields it and its queue's directory."""
        place = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(dir=place, prefix="bench-") as runtime:
            command = costless_command(self.model, workers=processes, token_cache_bytes=0, runtime_dir=runtime)
            with serving(command, self.directory / "logs" / "frontend.log") as running:
                yield running, next(Path(runtime).glob("rerankd-*")) / "0"

    def load(self, running: Running, shape: Shape, callers: int) -> Row:
        """Load it; returns the summary, with the processor time that the service took."""
        requests = make_requests(500, shape, self.args.seed)
        used = running.cpu_s()
        plan = load.Plan(running.url, "native", callers, warmup_s=1.0, seconds=self.args.seconds)
        found = load.run_apart(plan, requests, [0] * len(requests), self.directory)
        return {**found, "cpu_s": running.cpu_s() - used}


@contextlib.contextmanager
def on_cores(count: int | None) -> Iterator[None]:
    """Inside, this process and all that it starts run on `count` of its cores, or on all: where it has fewer, or for None."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def idle(bench: Bench) -> list[Row]:
    """One caller who asks when nobody else does."""
    with bench.serving(1) as (running, _):
        found = bench.load(running, TEN_SHORT, 1)
    return [{**{name: found[name] for name in ("p50_ms", "p95_ms", "p99_ms", "errors")}, "goal p50_ms": 1.0}]


def scaling(bench: Bench) -> list[Row]:
    """The same load on one process and on more, in turns."""
    rows: dict[int, list[Row]] = {}
    for _ in range(bench.args.rounds):
        for processes in bench.args.processes:
            with on_cores(processes if bench.args.pinned else None), bench.serving(processes) as (running, queue):
                beats = Beats(queue)
                beats.start()
                found = bench.load(running, options.shape_of(bench.args), bench.args.callers)
                lags = beats.stop()
            rows.setdefault(processes, []).append({**found, "lags": lags})
    rates = {processes: float(np.median([one["requests_s"] for one in found])) for processes, found in rows.items()}
    first = rates[bench.args.processes[0]] / bench.args.processes[0]
    return [
        {
            "HTTP processes": processes,
            "requests_s": rates[processes],
            "of linear": rates[processes] / processes / first,
            "cpu_ms_per_request": float(np.median([one["cpu_s"] / max(one["total"], 1) for one in found])) * 1e3,
            "p50_ms": float(np.median([one["p50_ms"] for one in found])),
            "loop lag p50_ms": float(np.percentile([lag for one in found for lag in one["lags"]], 50)),
            "loop lag p99_ms": float(np.percentile([lag for one in found for lag in one["lags"]], 99)),
            "beats": sum(len(one["lags"]) for one in found),
            "errors": sum(one["errors"] for one in found),
        }
        for processes, found in rows.items()
    ]


def metrics(bench: Bench) -> list[Row]:
    """Scrapes of /metrics on one connection while the service is loaded."""
    rows = []
    for processes in bench.args.scraped:
        with bench.serving(processes) as (running, _):
            took: list[float] = []
            until = time.monotonic() + bench.args.seconds
            scraper = threading.Thread(target=lambda at, times, end: asyncio.run(_scrape(at, times, end)), args=(running.url, took, until))
            scraper.start()
            found = bench.load(running, SHORT, bench.args.callers)
            scraper.join()
        p50, p99 = np.percentile(took, [50, 99])
        rows.append({"HTTP processes": processes, "scrapes": len(took), "p50_ms": float(p50), "p99_ms": float(p99), "goal p99_ms": 20.0,
                     "requests_s": found["requests_s"], "errors": found["errors"]})  # fmt: skip
    return rows


async def _scrape(url: str, took: list[float], until: float) -> None:
    connection = await Connection.open(Target.parse(url))
    asked = prepare("GET", "/metrics", b"", {"Accept": "application/openmetrics-text; version=1.0.0"})
    while time.monotonic() < until:
        began = time.perf_counter()
        await connection.send(asked)
        took.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(SCRAPE_EVERY_S)
    connection.close()


def memory(bench: Bench) -> list[Row]:
    """After some load: each process's resident memory, and its share where pages are common."""
    rows = []
    with bench.serving(bench.args.processes[-1]) as (running, _):
        bench.load(running, SHORT, bench.args.callers)
        for process in (psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children(recursive=True)):
            found = process.memory_full_info()
            module = next((part for part in process.cmdline() if part.startswith(("service.", "batching.", "ops."))), process.name())
            rows.append({"process": module, "resident_mb": found.rss / 1e6, "own_mb": found.uss / 1e6, "share_mb": found.pss / 1e6})
    rows.append({"process": "all", **{name: sum(row[name] for row in rows) for name in ("own_mb", "share_mb")}})
    return rows


MEASURES: dict[str, Callable[[Bench], list[Row]]] = {"idle": idle, "scaling": scaling, "metrics": metrics, "memory": memory}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("frontend", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="HTTP processes to compare, and of `memory` the last")
    parser.add_argument("--scraped", type=int, nargs="+", default=[1, 8], help="HTTP processes whose /metrics is asked for")
    parser.add_argument("--callers", type=int, default=32, help="concurrent callers")
    parser.add_argument("--pinned", action="store_true", help="`scaling` with a core for each HTTP process, and no other")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of `scaling`; medians count")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of each")
    parser.add_argument("--model", type=Path, help="a model's directory; only its tokenizer counts")
    parser.add_argument("--directory", type=Path, help="where the model and logs are kept; default $RERANKD_BENCH_DIR or the cache")
    options.add_shape(parser, SHORT)
    args = parser.parse_args()
    if unknown := set(args.names) - set(MEASURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return args


def main() -> int:
    """Run the measurements that were asked for."""
    args = parse()
    facts, bench = report.context(("rerankd", "tokenizers", "litestar", "granian", "uvloop")), Bench(args)
    for name in args.names or MEASURES:
        print(name, file=sys.stderr)
        shape = TEN_SHORT if name == "idle" else options.shape_of(args) if name == "scaling" else SHORT
        title = f"{name}, {1 if name == 'idle' else args.callers} callers"
        report.show(title, MEASURES[name](bench), facts, [shape.describe()], as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

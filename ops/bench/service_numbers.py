"""An operator's numbers beside their goals: start, stop, memory, /metrics under load: `python -m ops.bench.service_numbers`. Linux only.

The service is started as the README says, with the starter model. Its memory is told twice: pages shared by processes counted once
(proportional, the goal's), and in each process (resident). /metrics is asked on a new connection each time, so that every process answers.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ops.bench import load, options, report
from ops.bench.models import cache_directory
from ops.bench.serving import Command, Running, StartFailure, free_port, service_settings, starting
from service.load.workload import MIXED, make_requests

READY_S, STOP_S, MEMORY_MB, METRICS_MS = 6.0, 2.0, 900.0, 20.0


def command(http_processes: int) -> Command:
    """`rerankd serve --model starter`, as a user types it."""
    port = free_port()
    given = {"RERANKER_PORT": str(port), "RERANKER_WORKERS": str(http_processes), "RERANKER_LOG_LEVEL": "warning"}
    quiet = service_settings(Path("starter"), port) | given
    kept = {name: text for name, text in quiet.items() if name in {*given, "PYTHONPATH"}}
    return Command([sys.executable, "-m", "service", "serve", "--model", "starter"], port, "native", kept)


def get(port: int, path: str) -> tuple[int, float]:
    """One GET on a connection of its own: the status and its seconds."""
    began = time.perf_counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - began


def wait_ready(running: Running, limit_s: float = 120.0) -> float:
    """Seconds until /health/ready answers 200, from now. Raises TimeoutError or StartFailure."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if running.process.poll() is not None:
            raise StartFailure(f"it ended by itself; see {running.log}")
        with contextlib.suppress(OSError):
            if get(running.command.port, "/health/ready")[0] == 200:
                return time.monotonic() - began
        time.sleep(0.02)
    raise TimeoutError("not ready")


def memory_mb(group: int) -> tuple[float, float]:
    """Proportional and resident memory of all processes of a group in MB (proc(5): smaps_rollup)."""
    proportional = resident = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) != group:
                continue
            lines = dict(line.split(":", 1) for line in (stat.parent / "smaps_rollup").read_text().splitlines()[1:])
            proportional += int(lines["Pss"].split()[0])
            resident += int(lines["Rss"].split()[0])
    return proportional * 1024 / 1e6, resident * 1024 / 1e6


def stop(running: Running) -> tuple[float, int]:
    """SIGTERM to the supervisor, as systemd sends it: seconds until it is gone, and its exit code."""
    began = time.monotonic()
    os.kill(running.process.pid, signal.SIGTERM)
    code = running.process.wait(60)
    return time.monotonic() - began, code


def idle(directory: Path, http_processes: int) -> dict[str, Any]:
    """Start, look at memory after a request of each kind, stop."""
    with starting(command(http_processes), directory / "logs" / "numbers.log") as running:
        ready_s = wait_ready(running)
        running.wait_ready()
        time.sleep(1.0)
        proportional, resident = memory_mb(running.group)
        stop_s, code = stop(running)
    return {"ready_s": ready_s, "memory_mb": proportional, "resident_mb": resident, "stop_s": stop_s, "exit": code}


def scraped(directory: Path, http_processes: int, callers: int, seconds: float) -> dict[str, Any]:
    """Seconds of /metrics while the service is under load from another process."""
    with starting(command(http_processes), directory / "logs" / "numbers.log") as running:
        wait_ready(running)
        requests = make_requests(200, replace(MIXED, documents=(4, 16)))
        plan = load.Plan(running.url, "native", callers=callers, warmup_s=1.0, seconds=seconds)
        found: dict[str, Any] = {}
        loading = threading.Thread(target=lambda: found.update(load.run_apart(plan, requests, [0] * len(requests), directory)))
        loading.start()
        times = [_scrape(running.command.port) for _ in _while(loading.is_alive)]
        loading.join()
        stop(running)
    p50, p99 = np.percentile(np.array(times) * 1e3, (50, 99))
    return {"scrapes": len(times), "p50_ms": p50, "p99_ms": p99, "requests": found["total"], "errors": found["errors"]}


def _scrape(port: int) -> float:
    status, seconds = get(port, "/metrics")
    if status != 200:
        raise RuntimeError(f"/metrics answered {status}")
    time.sleep(0.05)
    return seconds


def _while(true: Callable[[], bool]) -> Iterator[None]:
    while true():
        yield


def row(what: str, goal: float, measured: list[float], unit: str, how: str) -> dict[str, Any]:
    """One line of the table: the worst of what was measured decides."""
    return {"what": what, "goal": f"≤ {goal:g} {unit}", "measured": f"{min(measured):.4g} to {max(measured):.4g} {unit}",
            "kept": "yes" if max(measured) <= goal else "NO", "how": how}  # fmt: skip


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("service_numbers", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of load for /metrics")
    parser.add_argument("--callers", type=int, default=8, help="callers of that load, each with one request at a time")
    parser.add_argument("--directory", type=Path, help="where logs are kept; default $RERANKD_BENCH_DIR or the cache")
    return parser.parse_args()


def main() -> int:
    """Measure and print; the exit status is 1 where a goal is missed."""
    args = parse()
    facts = report.context(("rerankd", "torch", "granian", "litestar"))
    directory = (args.directory or cache_directory()).resolve()
    starts = [idle(directory, 2) for _ in range(args.rounds)]
    under = scraped(directory, 8, args.callers, args.seconds)
    rows = [
        row("start to ready", READY_S, [one["ready_s"] for one in starts], "s", "2 HTTP processes, the first start with cold caches"),
        row("SIGTERM to exit, idle", STOP_S, [one["stop_s"] for one in starts], "s", f"exit codes {[one['exit'] for one in starts]}"),
        row("memory in all", MEMORY_MB, [one["memory_mb"] for one in starts], "MB",
            f"2 HTTP processes, all workers; resident, shared pages in each: {max(one['resident_mb'] for one in starts):.0f} MB"),
        row("/metrics p99", METRICS_MS, [under["p99_ms"]], "ms",
            f"8 HTTP processes, {args.callers} callers, {under['scrapes']} scrapes, p50 {under['p50_ms']:.1f} ms; "
            f"{under['requests']} requests, {under['errors']} errors"),
    ]  # fmt: skip
    report.show("an operator's numbers", rows, facts, ["the starter model, default settings"], as_json=args.json)
    return int(any(one["kept"] == "NO" for one in rows))


if __name__ == "__main__":
    sys.exit(main())

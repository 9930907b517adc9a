"""An HTTP process on its own: seconds from its start to its first answer, memory after load: `python -m ops.bench.start`. Linux only."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from ops.bench import load, options, report
from ops.bench.models import cache_directory, model_path
from ops.bench.serving import costless_command, starting
from service.load.connection import Target, get
from service.load.http11 import ResponseError
from service.load.workload import SHORT, make_requests

GOAL_S, GOAL_MB = 1.5, 200.0


def http_process(group: int) -> int | None:
    """Return the id of the first HTTP process of a process group, if it is there yet."""
    for stat in sorted(Path("/proc").glob("[0-9]*/stat")):
        with contextlib.suppress(OSError):
            of_group = int(stat.read_text().rpartition(")")[2].split()[2]) == group
            if of_group and b"service.http_process" in (stat.parent / "cmdline").read_bytes():
                return int(stat.parent.name)
    return None


def age_s(pid: int) -> float:
    """Return how long a process has lived (proc(5): field 22 of stat, in ticks since boot)."""
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return a process's resident memory in MB (proc(5): VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


async def first_answer(url: str, limit_s: float = 60.0) -> None:
    """Wait until /health/live answers 200. Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        while True:
            with contextlib.suppress(OSError, ResponseError):
                if (await get(Target.parse(url), "/health/live")).status == 200:
                    return
            await asyncio.sleep(0.01)


def measure(directory: Path, seconds: float) -> dict[str, Any]:
    """Start the service once, and load it for some seconds."""
    command = costless_command(model_path("minilm-l6", directory / "models"))
    with starting(command, directory / "logs" / "start.log") as running:
        while (pid := http_process(running.group)) is None:
            time.sleep(0.005)
        asyncio.run(first_answer(running.url))
        row = {"start_s": age_s(pid), "start_cpu_s": cpu_s(pid), "memory_mb": resident_mb(pid)}
        running.wait_ready()
        requests = make_requests(500, SHORT)
        plan = load.Plan(running.url, "native", callers=32, warmup_s=0.5, seconds=seconds)
        found = load.run_apart(plan, requests, [0] * len(requests), directory)
        return {**row, "memory_after_load_mb": resident_mb(pid), "requests": found["total"], "errors": found["errors"]}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("start", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of load after each start")
    parser.add_argument("--directory", type=Path, help="where the model and logs are kept; default $RERANKD_BENCH_DIR or the cache")
    return parser.parse_args()


def main() -> int:
    """Measure some starts and print them."""
    args = parse()
    facts = report.context(("rerankd", "litestar", "granian", "tokenizers", "numpy"))
    directory = (args.directory or cache_directory()).resolve()
    rows = [{"round": number, **measure(directory, args.seconds)} for number in range(1, args.rounds + 1)]
    notes = [SHORT.describe(), f"goals: first answer within {GOAL_S} s; at most {GOAL_MB:g} MB"]
    report.show("one HTTP process", rows, facts, notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

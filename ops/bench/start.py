"""An HTTP process on its own: seconds from its nursery's start to its first answer, memory after load: `python -m ops.bench.start`.

Linux only. `share_mb` counts a page that several processes have in common once, in equal parts.
"""

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
from ops.bench.memory import pss_kib
from ops.bench.models import cache_directory, model_path
from ops.bench.serving import costless_command, starting
from service.load.connection import Target, get
from service.load.http11 import ResponseError
from service.load.workload import SHORT, make_requests

GOAL_S, GOAL_MB = 1.5, 200.0


def process_of(group: int, module: str) -> int | None:
    """Return the id of the first process of a group that runs a module, if it is there yet."""
    for stat in sorted(Path("/proc").glob("[0-9]*/stat")):
        with contextlib.suppress(OSError):
            of_group = int(stat.read_text().rpartition(")")[2].split()[2]) == group
            if of_group and module.encode() in (stat.parent / "cmdline").read_bytes():
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


def share_mb(pid: int) -> float:
    """Return a process's proportional share of the memory it maps, in MB (proc(5): smaps_rollup)."""
    return pss_kib(Path(f"/proc/{pid}/smaps_rollup").read_text()) * 1024 / 1e6


def _waited_for(group: int, module: str) -> int:
    while (pid := process_of(group, module)) is None:
        time.sleep(0.005)
    return pid


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
        pids = [_waited_for(running.group, f"service.http_{what}") for what in ("nursery", "process")]
        asyncio.run(first_answer(running.url))
        pid = pids[-1]
        row = {"start_s": age_s(pids[0]), "start_cpu_s": sum(map(cpu_s, pids)), "memory_mb": resident_mb(pid), "share_mb": share_mb(pid)}
        running.wait_ready()
        requests = make_requests(500, SHORT)
        plan = load.Plan(running.url, "native", callers=32, warmup_s=0.5, seconds=seconds)
        found = load.run_apart(plan, requests, [0] * len(requests), directory)
        after = {"memory_after_load_mb": resident_mb(pid), "share_after_load_mb": share_mb(pid)}
        return {**row, **after, "requests": found["total"], "errors": found["errors"]}


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

"""The wall clock may step; nothing that waits, expires or measures may look at it."""

from __future__ import annotations

import ast
from pathlib import Path

import batching
import service

DATES = {"logs.py"}
"""Files of the engine that tell people a date."""
DECIDING = (
    "bodies",
    "exchange",
    "health",
    "http_pool",
    "http_process",
    "rate_limits",
    "rerank",
    "runtime_dir",
    "standing",
    "supervisor",
    "sweep",
)
"""Modules of the service that wait, expire or measure."""
STEPPING = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime"}


def wall_clocks(path: Path) -> list[str]:
    """Calls of the wall clock in a file, as `name:line`."""
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = [func for func in calls if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name)]
    return [f"{path.name}:{func.lineno}" for func in called if func.value.id in {"time", "datetime", "date"} and func.attr in STEPPING]


def test_the_engine_reads_no_wall_clock() -> None:
    """Deadlines, leases, heartbeats, rates and back-off all count monotonic seconds."""
    found = [call for path in Path(batching.__file__).parent.rglob("*.py") for call in wall_clocks(path)]
    assert [call for call in found if call.partition(":")[0] not in DATES] == []


def test_nothing_that_decides_in_the_service_reads_it() -> None:
    """Timeouts, rate limits, health and back-off count monotonic seconds too."""
    files = [Path(service.__file__).parent / f"{name}.py" for name in DECIDING]
    assert [call for path in files for call in wall_clocks(path)] == []

"""Memory of a process group, read from /proc; NaN where there is none."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path


def group_memory_mib(group: int) -> float:
    """Return the proportional set size of all processes of a group, shared pages counted once (proc(5): smaps_rollup)."""
    total_kib, seen = 0, False
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[2]) == group:
                total_kib += pss_kib((stat.parent / "smaps_rollup").read_text())
                seen = True
    return total_kib / 1024 if seen else math.nan


def pss_kib(rollup: str) -> int:
    """Read the proportional set size out of a smaps_rollup, in KiB."""
    return next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)

"""CPU cores as this process may use them: its affinity and its control group's quota count, not only what is built in."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on, at most as many as its CPU quota pays for; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota(root / "sys/fs/cgroup/cpu.max", cores)))


def _quota(path: Path, unlimited: int) -> int:
    """Whole cores of a control group's quota; `unlimited` where it has none, or there is no such group."""
    try:
        limit, period = path.read_text().split()
    except (OSError, ValueError):
        return unlimited
    return unlimited if limit == "max" else int(limit) // int(period)

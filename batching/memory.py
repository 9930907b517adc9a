"""Memory of the machine as this process may use it: what a control group allows counts, not only what is built in. Elsewhere than on
Linux, the total.

Control groups: version 2 at the path that /proc/self/cgroup names and above it, version 1 at its memory controller.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

UNLIMITED = 1 << 60
"""Version 1 writes a number near 2**63 where there is no limit."""


class Memory(NamedTuple):
    """Bytes that may be had now without anything being killed or swapped, and in all."""

    free: int
    total: int


def host(root: Path = Path("/")) -> Memory:
    """The machine's memory, or the tightest control group's around this process."""
    built_in = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    known = _meminfo(root / "proc/meminfo")
    total = known.get("MemTotal", built_in)
    found = [Memory(known.get("MemAvailable", total), total), *_groups(root)]
    return Memory(max(0, min(one.free for one in found)), min(one.total for one in found))


def _meminfo(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if rest.strip()}


def _groups(root: Path) -> Iterator[Memory]:
    """Every limited control group that this process is in."""
    base = root / "sys/fs/cgroup"
    inside = _path(root / "proc/self/cgroup", "")
    for directory in [base / inside, *(base / inside).parents][: len(Path(inside).parts) + 1]:
        yield from _group(directory, "memory.max", "memory.current", "inactive_file")
    for directory in (base / "memory" / _path(root / "proc/self/cgroup", "memory"), base / "memory"):
        yield from _group(directory, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _path(file: Path, controller: str) -> str:
    """A process's group in the hierarchy of `controller`; version 2's is nameless."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.strip("/")
    return ""


def _group(directory: Path, limit_name: str, used_name: str, cached_name: str) -> Iterator[Memory]:
    try:
        limit = int((directory / limit_name).read_text())
        used = int((directory / used_name).read_text())
        stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return
    if limit < UNLIMITED:
        yield Memory(limit - used + int(stat.get(cached_name, 0)), limit)

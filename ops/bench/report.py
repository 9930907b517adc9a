"""What every measurement is printed with: machine, versions, date and command; a table for people, JSON for programs."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from batching.cores import usable_cores

Row = Mapping[str, Any]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family', '?')}, {' '.join(flags)})"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def versions(*packages: str) -> dict[str, str]:
    """Look up the installed versions of these packages; those that are not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def context(packages: Sequence[str] = ("rerankd", "torch", "transformers", "tokenizers", "litestar", "granian")) -> dict[str, Any]:
    """Collect what a reader needs to run the measurement again. `load` is the load average at the start: trust only an idle machine."""
    arguments = " ".join(shlex.quote(part) for part in sys.argv[1:])
    module = sys.modules["__main__"].__spec__
    name = (module.name.removesuffix(".__main__") if module else Path(sys.argv[0]).name) or "bench"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m {name} {arguments}".strip(),
        "machine": f"{usable_cores()} cores of {_processor()}, {_memory_gib():.0f} GiB, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions(*packages),
        "commit": _commit(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def cell(value: object) -> str:
    """Write one value: three significant figures, a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def show(title: str, rows: Sequence[Row], facts: Mapping[str, Any], notes: Sequence[str] = (), *, as_json: bool = False) -> None:
    """Print a measurement; columns are the keys of the rows, in order of first appearance."""
    if as_json:
        print(json.dumps({"title": title, **facts, "notes": list(notes), "rows": [dict(row) for row in rows]}))
        return
    console = _console()
    console.print(table(title, rows))
    for note in notes:
        console.print(f"  {note}", markup=False)
    _print_facts(console, facts)


def show_all(tables: Mapping[str, Sequence[Row]], facts: Mapping[str, Any], notes: Sequence[str] = ()) -> None:
    """Print several tables of one run, and once what they were measured on."""
    console = _console()
    for title, rows in tables.items():
        console.print(table(title, rows))
    for note in notes:
        console.print(f"  {note}", markup=False)
    _print_facts(console, facts)


def table(title: str, rows: Sequence[Row]) -> Table:
    """Lay rows out; columns are their keys, in order of first appearance."""
    made = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        numeric = all(isinstance(row.get(column), int | float | None) for row in rows)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell(row.get(column)) for column in columns))
    return made


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 180, highlight=False)


def _print_facts(console: Console, facts: Mapping[str, Any]) -> None:
    found = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    for line in (
        facts["machine"],
        f"Python {facts['python']}, {found}",
        f"{facts['date']}, commit {facts['commit']}, load {facts['load']}",
    ):
        console.print(f"  {line}", markup=False)
    console.print(f"  $ {facts['command']}", markup=False)

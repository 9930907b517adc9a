"""The latency-throughput curve as a PNG. Needs matplotlib, the extra `bench`; imported only when a picture is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARTS = ("p50_ms", "p95_ms", "p99_ms")
Rows = Sequence[Mapping[str, Any]]


def latency_throughput(axis: Any, rows: Rows) -> None:
    """Draw rows of a closed loop (callers, pairs_s, p50_ms, p95_ms, p99_ms) on a matplotlib axis."""
    for part in PARTS:
        axis.plot([row["pairs_s"] for row in rows], [row[part] for row in rows], marker="o", label=part.removesuffix("_ms"))
    for row in rows:
        axis.annotate(str(row["callers"]), (row["pairs_s"], row["p50_ms"]), textcoords="offset points", xytext=(4, -10), fontsize=7)
    axis.set(xlabel="pairs a second (figures: callers)", ylabel="latency, ms", yscale="log", title="closed loop")
    axis.set_xlim(left=0)


def draw(rows: Rows, path: Path, title: str) -> None:
    """Write the curve. Raises ModuleNotFoundError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    latency_throughput(axis, rows)
    axis.grid(visible=True, which="both", alpha=0.3)
    axis.legend()
    figure.suptitle(title, fontsize=8)
    figure.savefig(path, dpi=150)

"""Pictures of a sweep: `python -m ops.bench.plots sweep.json sweep.png` draws what `ops.bench.sweep --save` wrote. Needs matplotlib."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.load.picture import latency_throughput

Rows = list[dict[str, Any]]
_ACROSS = 3


def draw(found: Mapping[str, Any], path: Path, title: str) -> None:
    """Write one PNG with a panel per stage that was measured. Raises ModuleNotFoundError without matplotlib."""
    from matplotlib.figure import Figure

    panels = [(name, rows) for name, rows in _panels(found) if rows]
    across = min(len(panels), _ACROSS)
    down = -(-len(panels) // across)
    figure = Figure(figsize=(6 * across, 4.5 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).flat
    for axis, (name, rows) in zip(axes, panels, strict=False):
        _DRAWERS[name.partition(" ")[0]](axis, rows, name)
        axis.grid(visible=True, which="both", alpha=0.3)
        axis.legend()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=150)


def _panels(found: Mapping[str, Any]) -> list[tuple[str, Rows]]:
    growth: Mapping[str, Rows] = found.get("growth", {})
    flat = [(name, found.get(name, [])) for name in ("concurrency", "overload")]
    return [*flat, *((f"growth {name}", rows) for name, rows in growth.items())]


def _concurrency(axis: Any, rows: Rows, _name: str) -> None:
    latency_throughput(axis, rows)


def _overload(axis: Any, rows: Rows, _name: str) -> None:
    x = [row["times"] for row in rows]
    axis.plot(x, [row["requests_s"] for row in rows], marker="o", label="answered a second")
    axis.plot(x, [row["rate"] for row in rows], linestyle="--", label="asked a second")
    axis.set(xlabel="times the best rate", ylabel="requests a second", xscale="log", yscale="log", title="open loop, overload")
    other = axis.twinx()
    style = {"marker": "s", "color": "tab:red", "label": "p99 of the answered, ms (right)"}
    other.plot(x, [row["p99_ms"] for row in rows], **style)
    axis.plot([], [], **style)  # for the legend: the line itself belongs to the other axis
    other.set(ylabel="p99, ms", yscale="log")


def _growth(axis: Any, rows: Rows, name: str) -> None:
    against = name.partition(" ")[2]
    x = [row[against] for row in rows]
    axis.plot(x, [row["p50_ms"] for row in rows], marker="o", label="p50, ms")
    axis.plot(x, [row["memory_mib"] for row in rows], marker="s", label="memory, MiB")
    axis.set(xlabel=against, xscale="log", yscale="log", title=f"cost against {against}")


_DRAWERS = {"concurrency": _concurrency, "overload": _overload, "growth": _growth}


def main() -> int:
    """Draw a saved sweep."""
    if len(sys.argv) != 3 or sys.argv[1] in {"-h", "--help"}:
        print(__doc__)
        return 2
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    draw(found, Path(sys.argv[2]), f"{found['machine']}, {found['date']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

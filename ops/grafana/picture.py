"""A picture of the dashboard where there is no Grafana: `python -m ops.grafana.picture http://PROMETHEUS:9090 picture.png [MINUTES]`.

Draws the panels' own queries over the last minutes. Needs matplotlib.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ops.grafana.panels import Panel, Query, filled, panels

ACROSS = 4
POINTS = 120
CHOSEN = (
    "Answers", "Pairs", "Latency", "Where the time goes", "Queue filled", "Tokens in the queue", "Refused", "Busy", "Tokens of a batch",
    "Forward pass", "Batch fill", "Drain rate",
)  # fmt: skip
"""Panels that tell most; a picture of all would be unreadable."""


def draw(prometheus: str, path: Path, minutes: float) -> None:
    """Write one picture. Raises ModuleNotFoundError without matplotlib, OSError when Prometheus does not answer."""
    from matplotlib.figure import Figure

    chosen = [panel for title in CHOSEN for panel in panels() if panel.title == title]
    figure = Figure(figsize=(5 * ACROSS, 3.2 * -(-len(chosen) // ACROSS)), layout="constrained")
    axes = figure.subplots(-(-len(chosen) // ACROSS), ACROSS, squeeze=False).flat
    for axis, panel in zip(axes, chosen, strict=False):
        _panel(axis, panel, prometheus, minutes)
    figure.savefig(path, dpi=80)


def _panel(axis: Any, panel: Panel, prometheus: str, minutes: float) -> None:
    lines = [line for query in panel.queries for line in _lines(query, prometheus, minutes)]
    if panel.stacked and lines:
        times = max((line[1] for line in lines), key=len)
        axis.stackplot(times, [_on(times, line) for line in lines], labels=[line[0] for line in lines], alpha=0.7)
    for name, times, values in () if panel.stacked else lines:
        axis.plot(times, values, label=name, linewidth=1.2)
    axis.set_title(panel.title, fontsize=10, loc="left")
    axis.set_ylim(bottom=0, top=panel.top)
    axis.set_xlim(-minutes * 60, 0)
    axis.set_xlabel("seconds", fontsize=7)
    axis.set_ylabel({"percentunit": "share", "reqps": "1/s", "cps": "1/s", "s": "s", "bytes": "bytes"}.get(panel.unit, ""), fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(visible=True, alpha=0.3)
    axis.legend(fontsize=6, loc="upper left")


def _lines(query: Query, prometheus: str, minutes: float) -> list[tuple[str, list[float], list[float]]]:
    now = time.time()
    asked = {
        "query": filled(query.expr, interval=f"{max(10, int(minutes * 2))}s"),
        "start": f"{now - minutes * 60:.3f}",
        "end": f"{now:.3f}",
        "step": f"{minutes * 60 / POINTS:.3f}",
    }
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(asked)}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return [
        (_legend(query.legend, one["metric"]), [at - now for at, _ in one["values"]], [float(value) for _, value in one["values"]])
        for one in found
        if any(float(value) for _, value in one["values"]) or len(found) == 1
    ]


def _on(times: list[float], line: tuple[str, list[float], list[float]]) -> list[float]:
    """The line's values at the times of the longest one; it was zero before it began."""
    known = {round(at, 2): value for at, value in zip(line[1], line[2], strict=True)}
    return [known.get(round(at, 2), 0.0) for at in times]


def _legend(legend: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


if __name__ == "__main__":
    draw(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 15.0)

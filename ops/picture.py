"""Draws the README's picture of the benchmarks out of saved figures: `python -m ops.picture`. Needs matplotlib (the extra `bench`).

Saved figures are what the measurements print: `python -m ops.bench.peers --json > ops/figures/peers.jsonl`. A figure that is not there is
not drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "figures"
PEERS = FIGURES / "peers.jsonl"
PICTURE = FIGURES / "benchmarks.png"
OURS, THEIRS = "#2563eb", "#9ca3af"


def bars(lines: str) -> tuple[str, list[tuple[str, float]]]:
    """Read `ops.bench.peers --json`: its title and (contender, pairs a second) of its first table, fastest first, failures left out.

    Raises ValueError where no table of rates is among the lines.
    """
    for line in lines.splitlines():
        found = json.loads(line)
        rows = [row for row in found["rows"] if isinstance(row.get("pairs_s"), int | float)]
        if rows:
            rates = sorted(((_name(row), float(row["pairs_s"])) for row in rows), key=lambda one: -one[1])
            return f"{found['title']}\n{found['machine']}, {found['date']}", rates
    raise ValueError("no rates in these figures")


def _name(row: dict[str, Any]) -> str:
    text = [value for value in row.values() if isinstance(value, str) and value]
    return f"{text[0]} {text[1]}" if len(text) > 1 and text[1] in ("float32", "bfloat16", "int8", "float16") else text[0]


def draw(title: str, rates: list[tuple[str, float]], target: Path) -> None:
    """Write one PNG: a bar per contender, ours in colour."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.6 + 0.38 * len(rates)), layout="constrained")
    axis = figure.subplots()
    names, values = [name for name, _ in rates][::-1], [rate for _, rate in rates][::-1]
    drawn = axis.barh(names, values, color=[OURS if name.startswith("rerankd") else THEIRS for name in names])
    axis.bar_label(drawn, fmt="%.0f", padding=3, fontsize=9)
    axis.set_xlabel("pairs a second")
    axis.set_title(title, fontsize=8, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.1)
    figure.savefig(target, dpi=130, metadata={"Software": None})


def main() -> int:
    """Draw; 1 where there is nothing to draw."""
    parser = argparse.ArgumentParser(prog="python -m ops.picture", description=__doc__)
    parser.add_argument("--figures", type=Path, default=PEERS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    given = parser.parse_args()
    if not given.figures.exists():
        print(f"{given.figures} is not there: python -m ops.bench.peers --json > {given.figures}", file=sys.stderr)
        return 1
    draw(*bars(given.figures.read_text()), given.picture)
    print(given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())

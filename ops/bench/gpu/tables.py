"""The rows of a run as a person reads them: one line a variant, batch sizes side by side, shares in percent, notes apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
SHARES = frozenset({"share", "of spread", "forwards under way", "card busy"})


def readable(tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Return the tables to print, nothing of the rows lost; the forward's rows are told apart."""
    found: dict[str, list[Row]] = {}
    for name, rows in tables.items():
        parts = _forward(rows) if name == "forward" else {name: list(rows)}
        found |= {title: [_percent(row) for row in part] for title, part in parts.items() if part}
    return found


def _forward(rows: Sequence[Row]) -> dict[str, list[Row]]:
    plain = [row for row in rows if "batch" not in row and "note" not in row]
    return {
        "parity with float32, and one request of 20 documents of 128 tokens": plain,
        "tokens/s in batches of so many tokens (of the matrix rate)": _side_by_side([row for row in rows if "batch" in row]),
        "not measured": [row for row in rows if "note" in row],
    }


def _side_by_side(rows: Sequence[Row]) -> list[Row]:
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        line = lines.setdefault((row["model"], row["variant"]), {"model": row["model"], "variant": row["variant"]})
        line[f"{row['batch']:,}"] = f"{row['tokens/s']:,.0f} ({row['of matrix rate']:.0%})"
    return list(lines.values())


def _percent(row: Row) -> Row:
    return {name: f"{value:.1%}" if name in SHARES and isinstance(value, float) else value for name, value in row.items()}

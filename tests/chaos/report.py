"""What an experiment found, as a table: each line has its limit and says whether it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

STOOD_STILL_S = 1.5


class Line(NamedTuple):
    """One finding; `limit` in words, empty where there is none."""

    what: str
    found: str
    limit: str
    ok: bool
    exact: bool = True
    """Whether it must hold however slow the machine is."""


class Report:
    """An experiment's findings."""

    def __init__(self, title: str) -> None:
        self.title, self.lines = title, list[Line]()

    def tell(self, what: str, found: object) -> None:
        """A finding without a limit."""
        self.lines.append(Line(what, _text(found), "", True))

    def must(self, what: str, found: object, limit: str, ok: bool) -> None:
        """A finding that has to keep a limit."""
        self.lines.append(Line(what, _text(found), limit, bool(ok)))

    def timed(self, what: str, found: object, limit: str, ok: bool) -> None:
        """The same for a limit that means something only on a machine that runs."""
        self.lines.append(Line(what, _text(found), limit, bool(ok), exact=False))

    def stood_still(self, longest_s: float) -> None:
        """Note the longest pause of the machine itself; after a long one limits of time are told but not held against the service."""
        self.tell("longest pause of the machine itself, s", longest_s)
        if longest_s > STOOD_STILL_S:
            self.lines = [line if line.exact else line._replace(limit=f"({line.limit})", ok=True) for line in self.lines]

    @property
    def broken(self) -> list[str]:
        """The limits that were not kept."""
        return [f"{self.title}: {line.what}: {line.found}, not {line.limit}" for line in self.lines if not line.ok]

    def show(self) -> None:
        """Print the table."""
        table = Table("", "found", "limit", "", title=self.title, title_justify="left")
        for line in self.lines:
            table.add_row(
                line.what, line.found, line.limit, ("ok" if line.ok else "BROKEN") if line.limit and not line.limit.startswith("(") else ""
            )
        Console(width=120).print(table)


def _text(found: object) -> str:
    if isinstance(found, float):
        return f"{found:,.4g}"
    return f"{found:,}" if isinstance(found, int) else str(found)


def p99(seconds: Sequence[float]) -> float:
    """The 99th percentile; NaN of nothing."""
    return float(np.percentile(seconds, 99)) if len(seconds) else float("nan")

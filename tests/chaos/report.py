"""What an experiment found, as a table: each line has its limit and says whether it was kept. With the raw figures it can be kept in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

STOOD_STILL_S = 1.5
JUDGED = {True: "ok", False: "BROKEN"}


class Line(NamedTuple):
    """One finding; `limit` in words, empty where there is none; `exact`: it must hold however slow the machine is."""

    what: str
    found: str
    limit: str
    verdict: str
    exact: bool = True


class Report:
    """An experiment's findings, and the samples that they come from."""

    def __init__(self, title: str) -> None:
        self.title, self.lines, self.raw = title, list[Line](), dict[str, object]()

    def tell(self, what: str, found: object) -> None:
        """A finding without a limit."""
        self.lines.append(Line(what, _text(found), "", ""))

    def must(self, what: str, found: object, limit: str, ok: bool) -> None:
        """A finding that has to keep a limit."""
        self.lines.append(Line(what, _text(found), limit, JUDGED[bool(ok)]))

    def timed(self, what: str, found: object, limit: str, ok: bool) -> None:
        """The same for a limit that means something only on a machine that runs."""
        self.lines.append(Line(what, _text(found), limit, JUDGED[bool(ok)], exact=False))

    def stood_still(self, longest_s: float) -> None:
        """Note the longest pause of the machine itself; after a long one limits of time are told as not judged where they were broken."""
        self.tell("longest pause of the machine itself, s", longest_s)
        if longest_s > STOOD_STILL_S:
            self.lines = [
                line if line.exact or line.verdict != "BROKEN" else line._replace(verdict="not judged: the machine stood still")
                for line in self.lines
            ]

    @property
    def broken(self) -> list[str]:
        """The limits that were not kept."""
        return [f"{self.title}: {line.what}: {line.found}, not {line.limit}" for line in self.lines if line.verdict == "BROKEN"]

    def show(self, console: Console | None = None) -> None:
        """Print the table."""
        table = Table("", "found", "limit", "", title=self.title, title_justify="left")
        for line in self.lines:
            table.add_row(line.what, line.found, line.limit, line.verdict)
        (console or Console(width=140)).print(table)

    def save(self, into: Path, stage: str, about: dict[str, str]) -> None:
        """Keep table, lines and raw figures as STAGE.txt and STAGE.json; `about`: when, where and how it ran."""
        into.mkdir(parents=True, exist_ok=True)
        with (into / f"{stage}.txt").open("w", encoding="utf-8") as file:
            self.show(Console(file=file, width=140))
        kept = {"stage": stage, "title": self.title, **about, "lines": [line[:4] for line in self.lines], "raw": self.raw}
        (into / f"{stage}.json").write_bytes(msgspec.json.encode(kept))


def _text(found: object) -> str:
    if isinstance(found, float):
        return f"{found:,.4g}"
    return f"{found:,}" if isinstance(found, int) else str(found)


def p99(seconds: Sequence[float]) -> float:
    """The 99th percentile; NaN of nothing."""
    return float(np.percentile(seconds, 99)) if len(seconds) else float("nan")

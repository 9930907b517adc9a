"""`python -m tests.fuzz --bodies N`: N random bodies through the application, all dialects; prints a table, fails at the first wrong answer."""

from __future__ import annotations

import argparse
import platform
import time
from collections import Counter
from importlib.metadata import version

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from tests.fuzz.ask import Asker
from tests.fuzz.bodies import KINDS, Sent

SHARES = {
    "a right call, one field anything": 0.4,
    "a right call on any path": 0.05,
    "fields of different calls, mixed": 0.25,
    "known fields, anything in them": 0.2,
    "any JSON": 0.05,
    "any bytes": 0.05,
}
"""How the bodies are divided among the kinds."""


class Row:
    """What came of one kind of body."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []


def run(strategy: st.SearchStrategy[Sent], bodies: int, asker: Asker, start: int) -> Row:
    """Send about `bodies` bodies. Raises AssertionError with the smallest body that was answered wrongly."""
    row = Row()

    @settings(
        max_examples=bodies, deadline=None, database=None, phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def send(sent: Sent) -> None:
        answer = asker.ask(*sent)
        row.statuses[answer.status] += 1
        row.seconds.append(answer.seconds)

    while row.statuses.total() < bodies:
        before = row.statuses.total()
        seed(start)(send)()
        if row.statuses.total() == before:
            break
        start += 1
    return row


def table(rows: dict[str, Row], took_s: float) -> Table:
    """Draw the table."""
    found = Table("body", "sent", "200", "4xx", "5xx", "p50 ms", "p99 ms", "slowest ms", caption=f"{took_s:.0f} s")
    for name, row in rows.items():
        good, bad = row.statuses[200], sum(count for status, count in row.statuses.items() if status >= 500)
        times = np.array(row.seconds) * 1e3
        p50, p99 = np.percentile(times, (50, 99))
        sent = row.statuses.total()
        found.add_row(name, f"{sent:,}", f"{good:,}", f"{sent - good - bad:,}", f"{bad}", f"{p50:.2f}", f"{p99:.2f}", f"{times.max():.1f}")
    return found


def main() -> None:
    """Run all kinds and print what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given_ = parser.parse_args()
    console, asker, began = Console(width=140), Asker(), time.monotonic()
    rows = {}
    for name, share in SHARES.items():
        rows[name] = run(KINDS[name], round(given_.bodies * share), asker, given_.seed)
        console.print(f"{name}: {dict(sorted(rows[name].statuses.items()))}")
    asker.close()
    console.print(
        f"Python {platform.python_version()}, hypothesis {version('hypothesis')}, litestar {version('litestar')}, seed {given_.seed}"
    )
    console.print(table(rows, time.monotonic() - began))


if __name__ == "__main__":
    main()

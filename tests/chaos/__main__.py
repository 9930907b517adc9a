"""Every experiment, one after the other, each with its table: `python -m tests.chaos --minutes 60` (or `just soak`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rich.console import Console

from tests.chaos import fairness, faults, fuzz, kills, overload, soak
from tests.chaos.report import Report

EXPERIMENTS: dict[str, tuple[Callable[[float], Report], float]] = {
    "kills": (kills.run, 0.25),
    "overload": (overload.run, 0.05),
    "fairness": (fairness.run, 0.06),
    "soak": (soak.run, 0.55),
    "fuzz": (fuzz.run, 0.04),
    "faults": (faults.run, 0.05),
}
"""Each with its share of the time."""


def main() -> int:
    """Run what was asked for; 1 if any limit was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all experiments together (60: ten minutes of kills need 40)")
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="experiments to run, separated by commas; they share the time")
    told = parser.parse_args()
    names = [name for name in told.only.split(",") if name]
    if unknown := set(names) - set(EXPERIMENTS):
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}; there are {', '.join(EXPERIMENTS)}")
    whole = sum(EXPERIMENTS[name][1] for name in names)
    broken: list[str] = []
    for name in names:
        run, share = EXPERIMENTS[name]
        report = run(60.0 * told.minutes * share / whole)
        report.show()
        broken += report.broken
    Console(width=120).print("\n".join(broken) or "Every limit was kept.", highlight=False)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""The experiments, one after the other, each with its table: `python -m tests.chaos` (or `just soak`).

One alone, for a given time, its table and raw figures kept in a folder: `--stage kills --minutes 10 --into FOLDER`.
What a folder holds becomes a section of BENCHMARKS.md by `python -m tests.chaos.render FOLDER`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tests.chaos import fairness, faults, fuzz, kills, overload, proxy, soak, soak_model
from tests.chaos.render import about
from tests.chaos.report import Report

STAGES: dict[str, tuple[Callable[[float], Report], float]] = {
    "kills": (kills.run, 10.0),
    "overload": (overload.run, 3.0),
    "fairness": (fairness.run, 6.0),
    "fuzz": (fuzz.run, 2.0),
    "faults": (faults.run, 4.0),
    "proxy": (proxy.run, 2.0),
    "soak": (soak.run, 30.0),
    "soak-model": (soak_model.run, 30.0),
}
"""Each with its usual minutes."""


def main() -> int:
    """Run what was asked for; 1 if any limit was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--stage", action="append", choices=STAGES, help="run this one; may be repeated (default: all)")
    parser.add_argument("--minutes", type=float, help="for each stage (default: its own, " + ", ".join(f"{name} {usual:g}" for name, (_, usual) in STAGES.items()) + ")")  # fmt: skip
    parser.add_argument("--into", type=Path, help="folder for each stage's table (.txt) and raw figures (.json)")
    parser.add_argument("--note", default="", help="what else is to be known of this run, kept with its figures")
    told = parser.parse_args()
    broken: list[str] = []
    for name in told.stage or STAGES:
        run, usual = STAGES[name]
        circumstances = about(f"python -m tests.chaos --stage {name} --minutes {told.minutes or usual:g}", told.note)
        report = run(60.0 * (told.minutes or usual))
        report.show()
        if told.into:
            report.save(told.into, name, circumstances)
        broken += report.broken
    Console(width=140).print("\n".join(broken) or "Every limit was kept.", highlight=False)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

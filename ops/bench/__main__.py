"""The measurements of BENCHMARKS.md, one after another: `python -m ops.bench`. Each is a command of its own, `python -m ops.bench.NAME`.

Run it on an idle machine: the load average stands beside every table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

DEFAULT = ("queue", "http", "start", "service")
ALL = (*DEFAULT, "frontend", "rates", "sweep", "peers")


def main() -> int:
    """Run each measurement in a process of its own; the exit status is the first that failed."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; default {' '.join(DEFAULT)}")
    parser.add_argument("--json", action="store_true", help="one JSON object a table")
    args = parser.parse_args()
    unknown = set(args.names) - set(ALL)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    extra = ["--json"] if args.json else []
    codes = [subprocess.run([sys.executable, "-m", f"ops.bench.{name}", *extra]).returncode for name in args.names or DEFAULT]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())

"""`rerankd check` with real weights: how the model runs, and the curve that the budget was taken from."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from batching.calibrate import Point
from service.commands.check import curve_table


def test_check_shows_how_the_model_runs(tmp_path: Path) -> None:
    """The curve comes from the worker's process through shared memory: sizes grow, and the budget stands above."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RERANKER_")}
    command = [sys.executable, "-c", "from service.cli import main; main()", "check", "--model", "starter", "--device", "cpu"]
    environment = {**clean, "XDG_CACHE_HOME": str(tmp_path), "COLUMNS": "120"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    told, _, curve = done.stdout.partition("tokens a batch      ms")
    assert re.search(r"token budget +\d+ tokens a batch", told)
    sizes = [int(size.replace(",", "")) for size in re.findall(r"^ *([\d,]+) +[\d.]+ +[\d,]+ +█", curve, re.M)]
    assert sizes[:2] == [256, 512]
    assert sizes == sorted(sizes)


def test_the_size_in_use_is_marked() -> None:
    """Only the largest size within the budget is bold, and bars are as long as rates."""
    table = curve_table([Point(256, 0.02), Point(512, 0.02), Point(1024, 0.04)], 900)
    assert [row.style for row in table.rows] == [None, "bold", None]
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    bars = [line.count("█") for line in console.export_text().splitlines()[1:]]
    assert bars == [15, 30, 30]

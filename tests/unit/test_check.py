"""`rerankd check` with real weights: how the model runs, and the curve that the budget was taken from."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from batching.calibrate import Point
from service.commands.check import curve_table
from tests import checkpoints
from tests.models.test_known import flipped, verdict_on


def checking(model: str, cache: Path, *options: str) -> subprocess.Popen[str]:
    """`rerankd check` on the CPU, as a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RERANKER_")}
    command = [sys.executable, "-c", "from service.cli import main; main()", "check", "--model", model, "--device", "cpu", *options]
    environment = {**clean, "XDG_CACHE_HOME": str(cache), "COLUMNS": "160"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def check(model: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """The same, run to its end."""
    with checking(model, cache) as process:
        out, told = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def test_a_flipped_head_ends_with_an_error(tmp_path: Path) -> None:
    """Of a random checkpoint and the same with its head turned round, the one that ranks the known pair wrongly is told so."""
    plain = checkpoints.xlm_roberta(tmp_path / "plain")
    turned = flipped(plain, tmp_path / "turned", "classifier.out_proj")
    wrong = turned if verdict_on(plain, None).ordered else plain
    done = check(str(wrong), tmp_path)
    assert done.returncode != 0
    assert "ranks an unrelated document first" in " ".join((done.stdout + done.stderr).split())


def test_check_shows_how_the_model_runs(tmp_path: Path) -> None:
    """The curve comes from the worker's process through shared memory: sizes grow, and the budget stands above."""
    done = check("starter", tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"known pair.*in order", done.stdout)
    assert re.search(r"scale +as it should be", done.stdout)
    told, _, curve = done.stdout.partition("tokens a batch      ms")
    assert re.search(r"token budget +\d+ tokens a batch", told)
    sizes = [int(size.replace(",", "")) for size in re.findall(r"^ *([\d,]+) +[\d.]+ +[\d,]+ +█", curve, re.M)]
    assert sizes[:2] == [256, 512]
    assert sizes == sorted(sizes)


def test_who_is_told_to_end_leaves_no_shared_memory(short_path: Path, tmp_path: Path) -> None:
    """While the model loads, as when a time limit ends it."""
    with checking("starter", tmp_path, "--runtime-dir", str(short_path)) as process:
        until = time.monotonic() + 30
        while not list(short_path.glob("*/0/claim")):
            assert time.monotonic() < until
            time.sleep(0.01)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
    assert not list(short_path.iterdir())


def test_the_size_in_use_is_marked() -> None:
    """Only the largest size within the budget is bold, and bars are as long as rates."""
    table = curve_table([Point(256, 0.02), Point(512, 0.02), Point(1024, 0.04)], 900)
    assert [row.style for row in table.rows] == [None, "bold", None]
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table)
    bars = [line.count("█") for line in console.export_text().splitlines()[1:]]
    assert bars == [15, 30, 30]

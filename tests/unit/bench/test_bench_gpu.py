"""The GPU run's own logic, and the whole run dry on the CPU: what is compared, what a forward costs, and that no failure loses a figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.scoring.options import ScoringOptions
from ops.bench.gpu import __main__ as gpu
from ops.bench.gpu import work
from ops.bench.gpu.tables import readable
from ops.bench.gpu.variants import variants


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Options of every kind."""

    device: str = "cpu"
    dtype: Literal["auto", "a", "b"] = "auto"
    graphs: bool = True
    compile: Literal["on", "off"] | None = None
    threads: int | None = None
    share: float = 0.5


def test_every_choice_is_a_variant() -> None:
    """The default first, then each other value of each choice alone; numbers and names are no choices."""
    found = variants(Choices)
    assert [one.name for one in found] == ["default", "dtype=a", "dtype=b", "graphs=off", "compile=on", "compile=off"]
    assert found[3].changes == {"graphs": False}
    assert {"attention=varlen", "dtype=float16"} <= {one.name for one in variants(ScoringOptions)}
    for one in variants(ScoringOptions):
        msgspec.convert(one.changes, ScoringOptions)


def test_flops_are_those_of_the_reference_page() -> None:
    """bge-reranker-v2-m3: 0.604 GFLOP a token in linears; attention adds 4 * hidden * length a layer and token."""
    config = {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096}
    assert work.flops(config, np.array([1], np.int32)) == pytest.approx(0.604e9, rel=1e-3)
    short, long = (work.flops(config, np.full(count, 1024 // count, np.int32)) for count in (4, 1))
    assert long - short == pytest.approx(24 * 4 * 1024 * (1024**2 - 4 * 256**2))


@given(st.sampled_from([work.MIXED, work.LONG, work.REQUEST]), st.integers(1, 50_000), st.integers(0, 99))
def test_drawn_lengths_fill_a_batch(lengths: work.Lengths, tokens: int, seed: int) -> None:
    """At least one sequence, none outside the bounds, never more tokens than asked unless one alone has more."""
    rng = np.random.default_rng(seed)
    drawn = lengths.draw(tokens, rng)
    assert len(drawn) >= 1
    assert lengths.low <= drawn.min() <= drawn.max() <= lengths.high
    assert len(drawn) == 1 or drawn.sum() <= tokens
    assert drawn.sum() >= tokens / 3 or len(drawn) == 1 or tokens < 2000
    made = work.pack(drawn, rng)
    assert (made.tokens, made.scores) == (int(drawn.sum()), len(drawn))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=30))
def test_kendall_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    """Pairs in the same order less pairs in opposite order, over all pairs."""
    agreed = [int(np.sign(a[0] - b[0]) * np.sign(a[1] - b[1])) for a, b in combinations(pairs, 2)]
    one, other = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    assert work.kendall(one, other) == pytest.approx(sum(agreed) / len(agreed))


def test_a_failing_step_ends_no_other_and_loses_nothing(tmp_path: Path) -> None:
    """Rows before a failure stay, the failure is a row, what there is no time for is said, and the file has it all at every moment."""
    saved = tmp_path / "gpu.json"
    run = gpu.Run(gpu.parse(["--dry-run", "--save", str(saved), "--limit", "60"]))

    def half() -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        raise RuntimeError("the device is gone")

    run.step("first", 1, half)
    assert json.loads(saved.read_text())["tables"] == {"first": [{"a": 1}, {"note": "RuntimeError: the device is gone"}]}
    run.step("second", 1000, half, "something")
    run.step("third", 1, lambda: [{"b": np.float32(2.0)}])
    tables = json.loads(saved.read_text())["tables"]
    assert tables["second"][0]["note"].startswith("something left out: 1000 s needed")
    assert tables["third"] == [{"b": 2.0}]


def test_tables_lose_no_row() -> None:
    """Batch sizes stand side by side, notes apart, shares in percent."""
    rows = [
        {"model": "m", "variant": "default", "max diff": 0.5, "of spread": 0.25},
        {"model": "m", "variant": "default", "batch": 512, "tokens/s": 1000.0, "of matrix rate": 0.5},
        {"model": "m", "variant": "default", "batch": 2048, "tokens/s": 2000.0, "of matrix rate": 0.6},
        {"model": "m", "variant": "other", "note": "not here"},
    ]
    found = list(readable({"forward": rows, "more": [{"share": 0.125}]}).values())
    assert found == [
        [{"model": "m", "variant": "default", "max diff": 0.5, "of spread": "25.0%"}],
        [{"model": "m", "variant": "default", "512": "1,000 (50%)", "2,048": "2,000 (60%)"}],
        [{"model": "m", "variant": "other", "note": "not here"}],
        [{"share": "12.5%"}],
    ]


def test_a_dry_run_measures_what_the_real_one_will(tmp_path: Path) -> None:
    """On the CPU with a tiny model: parity of the default within rounding, rates at every size, raw figures under $OUT."""
    options = ["--dry-run", "--no-http", "--models", "bert-base", "--limit", "90", "--directory", str(tmp_path)]
    command = [sys.executable, "-m", "ops.bench.gpu", *options]
    environment = {**os.environ, "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=115, env=environment, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "gpu.json").read_text())["tables"]
    assert "copy" in {row["what"] for row in tables["machine"]}
    default = [row for row in tables["forward"] if row.get("variant") == "default"]
    assert [row.get("batch") for row in default] == [None, *gpu.DRY_SIZES], default
    assert default[0]["of spread"] < 1e-4
    assert default[0]["tau"] > 0.99
    assert all(row["tokens/s"] > 0 for row in default[1:])
    assert "parity with float32" in done.stdout

"""The pure parts of the comparisons: goals, medians, batches, exponents."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from batching.types import Sequences
from ops.bench import http, service
from ops.bench.memory import pss_kib
from ops.bench.packed import packs
from ops.bench.peers.catalogue import CONTENDERS
from ops.bench.peers.ratios import GOALS, ratio_rows
from ops.bench.sweep import exponents


def in_process() -> ModuleType:
    """Load the module that peers import from beside them."""
    path = Path(sys.modules["ops.bench.peers.catalogue"].__file__ or "").with_name("in_process.py")
    spec = importlib.util.spec_from_file_location("in_process", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_ratio_is_to_the_best_of_its_rivals() -> None:
    """Of several servers the fastest counts; a goal is met from its factor on; what was not measured makes no row."""
    rates = {("rerankd", "float32"): 70.0, ("mosec", "float32"): 20.0, ("Infinity", "float32"): 10.0, ("onnxruntime", "float32"): 100.0}
    rows = ratio_rows(rates)
    assert [(row["rival"], row["measured"], row["met"]) for row in rows] == [
        ("mosec float32", 3.5, "yes"),
        ("onnxruntime float32", 0.7, "no"),
    ]
    assert ratio_rows({}) == []


def test_every_goal_names_contenders_that_exist() -> None:
    """A goal cannot pass for want of a rival that is misspelt, and ours runs in every dtype that has a goal."""
    known = {(contender.name, contender.dtype) for contender in CONTENDERS}
    assert all(rival in known for goal in GOALS for rival in goal.rivals)
    assert all((goal.ours, goal.dtype) in known for goal in GOALS)
    assert len({contender.key.lower() for contender in CONTENDERS}) == len(CONTENDERS)


def test_the_http_ratio_is_to_the_better_echo() -> None:
    """The bound is the faster echo; rounds count by their median."""

    def summary(rate: float) -> dict[str, float]:
        return {"requests_s": rate, "tokens_s": rate, "p50_ms": 1, "p99_ms": 2, "cpu_ms": 1, "errors": 0}

    found = {"echo a": [summary(100)], "echo b": [summary(190), summary(200), summary(900)], "rerankd": [summary(180)]}
    ratios = {row["server"]: row["of the better echo"] for row in http.rows(found)}
    assert ratios == {"echo a": 0.5, "echo b": 1.0, "rerankd": 0.9}


def test_the_service_is_compared_with_median_rounds() -> None:
    """Our rate over each contender's, both medians."""
    found = {
        name: [{"pairs_s": rate} for rate in rates] for name, rates in {"through HTTP": (80, 90, 10), "forward in process": (100,)}.items()
    }
    assert {row["what"]: row["HTTP / this"] for row in service.rows(found)} == {"through HTTP": 1.0, "forward in process": 0.8}


def test_packs_keep_order_and_budget() -> None:
    """Every entry is in exactly one batch, in order; only an entry that alone exceeds the budget makes a batch over it."""
    sizes = [30, 40, 50, 200, 10, 10, 90]
    entries = [
        Sequences(np.full(size, number, np.int32), np.array([size], np.int32), np.zeros(1, np.int32), shared=False, scores=1)
        for number, size in enumerate(sizes)
    ]
    found = packs(entries, 100)
    assert [pack.tokens for pack in found] == [70, 50, 200, 20, 90]
    assert np.concatenate([pack.ids for pack in found]).tolist() == np.repeat(range(7), sizes).tolist()
    assert packs([], 100) == []


def test_batches_hold_every_pair_once() -> None:
    """Cutting and shuffling loses no pair and keeps neighbours in length together."""
    module = in_process()
    encodings = list(range(50))
    batches = module.batches_of(encodings, 8)
    assert sorted(value for batch in batches for value in batch) == encodings
    assert all(batch == list(range(batch[0], batch[0] + len(batch))) for batch in batches)
    assert [batch[0] for batch in batches] != sorted(batch[0] for batch in batches)


def test_timing_counts_the_tokens_of_each_batch_that_ran() -> None:
    """Tokens a second are those of the batches that were run, by any number of streams, however many pairs they hold."""
    module = in_process()
    ran: list[int] = []
    sizes = [10, 200, 3000]
    found = module.timed([0, 1, 2], sizes, lambda batch: ran.append(sizes[batch]), seconds=0.05, streams=2)
    assert 0.049 <= sum(ran[3:]) / found["tokens_s"] < 5
    assert found["cpu_us_per_token"] > 0
    assert module.rates(500, 2.0, 1.0) == {"tokens_s": 250.0, "cpu_us_per_token": 2000.0}


def test_growth_is_said_with_its_exponent() -> None:
    """Linear cost is said to be size^1.00, constant memory size^0.00."""
    rows = [{"documents": size, "p50_ms": 3.0 * size, "memory_mib": 500.0} for size in (1, 4, 16, 64)]
    assert exponents({"documents": rows}) == ["against documents (16-64): p50 latency grows as size^1.00, memory as size^0.00"]


def test_proportional_memory_is_read() -> None:
    """The Pss line is taken, not those that begin like it."""
    assert pss_kib("Rss: 900 kB\nPss:                 123 kB\nPss_Anon: 7 kB\n") == 123
    assert pss_kib("") == 0

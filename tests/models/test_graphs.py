"""A row that is filled up to a graph's shape and replayed scores as the plain one; whatever can't be captured goes the plain way."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batching.scoring import graphs
from batching.scoring.buckets import SEQUENCES, SHORT, TOKENS, bucket_of, fill_bucket, parts_of
from batching.scoring.graphs import CAPTURE_AT, GraphedForward
from batching.scoring.kernels import VarlenKernel
from batching.scoring.layout import Layout, lay_out, owners
from tests.checkpoints import QUERY, SENTENCES
from tests.models.cases import CASES, FLOAT32, encoded, scale, scorer_of
from tests.models.packs import chosen, pack_of, scores
from tests.models.varlen import FakeGraph, varlen_kernel, varlen_scorer

GRAPHED = (
    "xlm-roberta",
    "bert",
    "modernbert mean",
    "gte",
    "bi-encoder mean",
    "bi-encoder last",
    "colbert attended",
    "ctxl",
    "nemotron",
    "jina-v3",
)


def laid_out(lengths: list[int], *, types: bool = False) -> Layout:
    pack = pack_of([[7] * length for length in lengths], splits=[length // 2 for length in lengths])
    return lay_out(pack, np.arange(len(lengths), dtype=np.int32), None, sort=False, offset=2, token_types=types)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=300), st.booleans())
def test_a_filled_row_holds_the_row_and_nothing_that_touches_it(lengths: list[int], types: bool) -> None:
    """Real tokens and offsets come first and unchanged; what follows is one sequence at most, no longer than the kernel reckons with."""
    layout = laid_out(lengths, types=types)
    bucket = bucket_of(layout)
    if bucket is None:
        assert sum(lengths) > TOKENS[-1] or len(lengths) >= SEQUENCES[-1]
        return
    parts = parts_of(fill_bucket(layout, bucket, 2), bucket)
    tokens, count = len(layout.ids), len(lengths)
    assert {name: len(part) for name, part in parts.items()} == {
        name: bucket.sequences + 1 if name == "offsets" else bucket.tokens for name in parts
    }
    for name, real in (("ids", layout.ids), ("positions", layout.positions), ("types", layout.types)):
        assert (name in parts) == (real is not None)
        if real is not None:
            assert parts[name][:tokens].tolist() == real.tolist()
    assert set(parts["positions"][tokens:].tolist()) <= {2}
    assert parts["offsets"][: count + 1].tolist() == layout.offsets.tolist()
    made_up = np.diff(parts["offsets"])[count:]
    assert parts["offsets"][-1] == bucket.tokens
    assert (made_up > 0).sum() <= 1
    assert max(lengths) <= bucket.longest
    assert made_up.max(initial=0) <= bucket.longest
    assert bucket.longest == bucket.tokens or bucket.longest == SHORT


def test_what_shares_prefixes_has_no_bucket() -> None:
    """A prefix's second call is of no fixed shape."""
    pack = pack_of([[1] * 5, [2] * 3, [3] * 4], shared=True)
    layout = lay_out(pack, np.arange(3, dtype=np.int32), owners(pack).shared, sort=False, offset=0, token_types=False)
    assert bucket_of(layout) is None


@pytest.mark.parametrize("name", [name for name in GRAPHED if name in CASES])
def test_replays_score_as_the_plain_forward(name: str) -> None:
    """First, capturing and replayed runs of several shapes give the CPU's scores, in turn and in any company."""
    scorer = varlen_scorer(name)
    made: list[FakeGraph] = []
    scorer._forward = GraphedForward(scorer._forward, scorer._kernel, scorer._limits.positions.offset, lambda: FakeGraph(made))
    whole = encoded(name, QUERY, SENTENCES[:6])
    requests = [whole] if CASES[name].listwise else [whole, chosen(whole, range(2)), chosen(whole, [3, 1, 4])]
    for round_ in range(CAPTURE_AT + 2):
        for request in requests:
            # cached queries would change the shapes from one round to the next
            getattr(scorer._reader, "_cache", None) and scorer._reader._cache._rows.clear()
            want = scores(scorer_of(name), request)
            np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32 * scale(want), rtol=0, err_msg=f"round {round_}")
    assert scorer._forward.trouble == ""
    assert made
    assert all(graph.replays >= 2 for graph in made)


def test_a_query_that_is_partly_unseen_goes_the_plain_way() -> None:
    """A ColBERT query behind a mask is no graph's work; its documents, once the query is known, are replayed."""
    scorer, made = varlen_scorer("colbert"), []
    scorer._forward = GraphedForward(scorer._forward, scorer._kernel, 0, lambda: FakeGraph(made))
    request = encoded("colbert", QUERY, SENTENCES[:4])
    want = scores(scorer_of("colbert"), request)
    for turn in range(2 * CAPTURE_AT + 2):
        if turn < CAPTURE_AT:
            scorer._reader._cache._rows.clear()
        np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32 * scale(want), rtol=0, err_msg=f"turn {turn}")
        assert made or turn <= CAPTURE_AT
    assert len(made) == 1
    assert made[0].replays >= 2


def test_rows_beyond_the_buckets_go_the_plain_way() -> None:
    """More tokens or sequences than any graph has are scored without one."""
    scorer, made = varlen_scorer("bert"), []
    scorer._forward = GraphedForward(scorer._forward, scorer._kernel, 0, lambda: FakeGraph(made))
    request = encoded("bert", QUERY, SENTENCES[:1] * SEQUENCES[-1])
    want = scores(scorer_of("bert"), request)
    for _ in range(CAPTURE_AT + 1):
        np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32)
    assert not made


class Broken(FakeGraph):
    """Replays something else."""

    def replay(self) -> None:
        """Nothing is written."""


class Refusing(FakeGraph):
    """Can't capture."""

    def capture(self, run) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


class NoLayers(VarlenKernel):
    def serves(self, query, segments, how) -> bool:
        return False


@pytest.mark.parametrize("kind", [Broken, Refusing, "kernel"])
def test_trouble_is_logged_once_and_costs_no_score(kind: type[FakeGraph] | str, caplog: pytest.LogCaptureFixture) -> None:
    """A graph that can't be captured, replays other values, or would need runs of equal length leaves the plain forward."""
    scorer, kernel = varlen_scorer("bert"), varlen_kernel()
    if kind == "kernel":
        kernel = NoLayers("none", kernel._varlen)

    class Doing(FakeGraph):
        def capture(self, run) -> None:
            run()

    make = Doing if kind == "kernel" else kind
    scorer._forward = GraphedForward(scorer._forward, kernel, 0, make)
    request = encoded("bert", QUERY, SENTENCES[:4])
    want = scores(scorer_of("bert"), request)
    with caplog.at_level(logging.WARNING):
        for _ in range(CAPTURE_AT + 2):
            np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32)
    assert len(caplog.records) == 1
    assert scorer._forward.trouble


def test_a_start_meets_every_row_of_the_graphs() -> None:
    """After preparing, a graph of every token bucket is there."""
    scorer, made = varlen_scorer("bert"), []
    scorer._forward = GraphedForward(scorer._forward, scorer._kernel, 0, lambda: FakeGraph(made))
    scorer._forward.warm_up_rows = TOKENS[:4]
    scorer.prepare()
    assert len(made) == 4
    assert len(TOKENS) < graphs.MOST
    assert torch.is_tensor(scorer._forward._output)

"""Compiled blocks score as the plain ones, are compiled once for all lengths, and are left out when they fail or differ."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from batching.scoring import cuda
from batching.scoring.compiled import Regions, keep_on_disk
from batching.scoring.graphs import GraphedForward
from batching.scoring.options import ScoringOptions
from tests.checkpoints import QUERY, SENTENCES
from tests.models.cases import FLOAT32, encoded, scale, scorer_of
from tests.models.packs import scores
from tests.models.varlen import FakeGraph, varlen_scorer


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing compiled outlives its test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counting:
    """A compiler that counts, and gives back what it was given."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, module: Any, inputs: Any) -> Any:
        self.calls += 1
        return module


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("name", "compilations"), [("xlm-roberta", 2), ("modernbert mean", 4), ("ctxl", 1), ("qwen3", 0)])
def test_one_compilation_serves_all_lengths(name: str, compilations: int) -> None:
    """Layers of one kind share a compilation, and so do all lengths; what shares prefixes is not compiled."""
    scorer, count = varlen_scorer(name), Counting()
    scorer._forward.regions = Regions(scorer._forward._base, backend=count)
    for part in (SENTENCES, SENTENCES[:3], SENTENCES[2:9]):
        request = encoded(name, QUERY, part)
        want = scores(scorer_of(name), request)
        np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32 * scale(want), rtol=0)
    assert count.calls == compilations


def broken(module: Any, inputs: Any) -> Any:
    raise RuntimeError("no compiler here")


def wrong(module: Any, inputs: Any) -> Any:
    return lambda *args: tuple(out + torch.randn_like(out) * 9 for out in module(*args))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("backend", "said"), [(broken, "not compiled"), (wrong, "stay as they are")])
def test_a_compiler_that_fails_or_lies_is_left_out(backend: Any, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is logged, and the scores are the plain blocks'."""
    scorer, request = varlen_scorer("xlm-roberta"), encoded("xlm-roberta", QUERY, SENTENCES)
    regions = Regions(scorer._forward._base, backend=backend)
    with caplog.at_level(logging.INFO):
        cuda.compile_blocks(scorer._forward, regions, scorer._kernel, 2, must=True)
    assert scorer._forward.regions is None
    assert said in caplog.text
    want = scores(scorer_of("xlm-roberta"), request)
    np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32 * scale(want), rtol=0)


@pytest.mark.filterwarnings("default")
def test_a_compiler_that_gives_up_later_leaves_the_plain_blocks(caplog: pytest.LogCaptureFixture) -> None:
    """A batch that would need one compilation too many is scored all the same, as are those behind it."""
    scorer, request = varlen_scorer("xlm-roberta"), encoded("xlm-roberta", QUERY, SENTENCES)
    want = scores(scorer, request)
    regions = Regions(scorer._forward._base, backend=Counting())

    def gives_up(*_args: Any, **_kwargs: Any) -> None:
        raise torch._dynamo.exc.FailOnRecompileLimitHit("too many")

    regions._calls = [gives_up for _ in regions._calls]  # type: ignore[misc]
    scorer._forward.regions = regions
    for _ in range(2):
        np.testing.assert_allclose(scores(scorer, request), want, atol=1e-6, rtol=0)
    assert scorer._forward.regions is None
    assert "no longer compiled: too many" in caplog.text


@pytest.mark.filterwarnings("default")
def test_compiled_blocks_are_kept_when_they_must_be_and_can_be_captured() -> None:
    """Graphs replay compiled blocks; the backend's name says both."""
    scorer, request = varlen_scorer("xlm-roberta"), encoded("xlm-roberta", QUERY, SENTENCES[:5])
    regions = Regions(scorer._forward._base, backend=Counting())
    cuda.compile_blocks(scorer._forward, regions, scorer._kernel, 2, must=True)
    options = ScoringOptions(compiled="off")
    scorer._forward = cuda.speed_up(scorer._forward, scorer._forward._base, scorer._kernel, 2, options, FakeGraph)
    assert scorer._forward.backend.endswith("+compiled+graphs")
    want = scores(scorer_of("xlm-roberta"), request)
    for _ in range(4):
        np.testing.assert_allclose(scores(scorer, request), want, atol=FLOAT32 * scale(want), rtol=0)
    assert scorer._forward.trouble == ""


def test_nothing_changes_where_attention_is_runs() -> None:
    """On the kernel of the CPU there is neither graph nor compiler, and options can turn both off."""
    plain = scorer_of("bert")._forward
    assert cuda.speed_up(plain, plain._base, scorer_of("bert")._kernel, 0, ScoringOptions()) is plain
    assert not isinstance(plain, GraphedForward)
    assert plain.regions is None
    other = varlen_scorer("bert")
    off = ScoringOptions(compiled="off", graphs="off")
    assert cuda.speed_up(other._forward, other._forward._base, other._kernel, 0, off) is other._forward


def test_compilers_keep_their_results_in_the_cache_directory() -> None:
    """What the operator set stays as it is."""
    found = keep_on_disk({"CACHE_DIRECTORY": "/var/cache/rerankd"})
    assert set(found) == {"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"}
    assert all(path.startswith("/var/cache/rerankd/compiled/") for path in found.values())
    assert set(keep_on_disk({"HOME": "/", "TRITON_CACHE_DIR": "/x"})) == {"TORCHINDUCTOR_CACHE_DIR"}

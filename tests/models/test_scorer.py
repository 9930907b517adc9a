"""A scorer keeps one sequence's trouble to itself, forgets what it must, and says what its machine lacks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import SettingError, StartError
from batching.scoring import load
from batching.scoring.kernels import VarlenKernel, torch_varlen
from batching.scoring.lanes import HostLane, memory_errors
from batching.scoring.load import choose_dtype, choose_kernel, load_scorer, open_device
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import mixed_lengths
from batching.types import OutOfMemory
from tests.checkpoints import QUERY, SENTENCES
from tests.models import dense
from tests.models.cases import CASES, FLOAT32, encoded, encoder_of, scale, scorer_of
from tests.models.packs import chosen, joined, scores

CPU = torch.device("cpu")
PLAIN = ScoringOptions(forward="transformers")


@pytest.mark.parametrize(
    "name", ["xlm-roberta", "bert", "bi-encoder mean", "bi-encoder cls", "colbert", "deberta-v2", "modernbert mean", "qwen3", "nemotron"]
)
def test_a_nan_stays_in_its_own_sequence(name: str) -> None:
    """A token whose embedding is NaN makes the documents that hold it NaN, and moves no other score of the batch by one bit."""
    request = encoded(name, QUERY, SENTENCES)
    scorer = load_scorer(encoder_of(name).card, PLAIN)
    before = scores(scorer, request)
    begins = np.concatenate([[0], np.cumsum(request.lengths)])
    rows = [set(request.ids[begins[number] : begins[number + 1]].tolist()) for number in range(len(request.lengths))]
    first = int(request.shared)
    poison = next(token for token in sorted(rows[-1]) if sum(token in row for row in rows) == 1)
    sick = [poison in row for row in rows[first:]]
    assert any(sick) and not all(sick)
    with torch.no_grad():
        scorer._forward._base.get_input_embeddings().weight[poison] = float("nan")
    after = scores(scorer, request)
    assert np.isnan(after).tolist() == sick
    np.testing.assert_array_equal(after[~np.array(sick)], before[~np.array(sick)])


def test_a_query_is_embedded_once() -> None:
    """The second request with a query runs only its documents; a forgotten query is computed again, to the same scores."""
    card = encoder_of("bi-encoder mean").card
    request = encoded("bi-encoder mean", QUERY, SENTENCES[:5])
    tokens: list[int] = []
    scorer = load_scorer(card, ScoringOptions(forward="transformers", query_cache=1))
    forward = scorer._forward

    class Counting:
        backend, padded, weights_bytes, arrays = forward.backend, forward.padded, forward.weights_bytes, forward.arrays

        def fill(self, tokens):
            return 0

        def rows(self, batch, read):
            tokens.append(len(batch.layout.ids))
            return forward.rows(batch, read)

    scorer._forward = Counting()
    query = int(request.lengths[0])
    first = scores(scorer, request, request)
    second = scores(scorer, request)
    scores(scorer, encoded("bi-encoder mean", "another query", SENTENCES[:2]))
    third = scores(scorer, request)
    documents = request.tokens - query
    assert tokens[0] == 2 * documents + query, "two entries with one query embed it once"
    assert tokens[1] == documents
    assert tokens[3] == documents + query, "the cache of one has forgotten it"
    np.testing.assert_allclose(first, np.concatenate([second, second]), atol=1e-6)
    np.testing.assert_allclose(second, third, atol=1e-6)


def test_batches_may_overlap() -> None:
    """Launching the next batch before collecting the last mixes nothing up."""
    scorer = scorer_of("bi-encoder mean")
    request = encoded("bi-encoder mean", "a new query", SENTENCES)
    whole = scores(load_scorer(encoder_of("bi-encoder mean").card, PLAIN), request)
    first, second = (scorer.launch(joined([chosen(request, part)])) for part in (range(3), range(3, 9)))
    np.testing.assert_allclose(second(), whole[3:9], atol=2e-6)
    np.testing.assert_allclose(first(), whole[:3], atol=2e-6)


def test_a_pair_family_refuses_a_shared_sequence() -> None:
    """A shared sequence for a bidirectional pair family is a caller's mistake, not a silent wrong score."""
    request = encoded("bi-encoder mean", QUERY, SENTENCES[:2])
    with pytest.raises(ValueError, match="causal"):
        scorer_of("bert").launch(joined([request]))


@pytest.mark.parametrize("name", CASES)
def test_a_varlen_kernel_scores_the_same(name: str) -> None:
    """The path that CUDA takes, unsorted and on varlen calls, gives the CPU's scores when its kernel is a dense stand-in."""
    varlen = torch_varlen(dense.varlen_attn, SimpleNamespace(lse=True))
    scorer = load_scorer(encoder_of(name).card, PLAIN)
    scorer._kernel = VarlenKernel("stand-in", varlen, dtypes=(torch.float32,))
    request, other = encoded(name, QUERY, SENTENCES), encoded(name, "who walked on the moon?", SENTENCES[3:9])
    want = scores(scorer_of(name), request, other, request)
    np.testing.assert_allclose(scores(scorer, request, other, request), want, atol=FLOAT32 * scale(want), rtol=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_exhausted_memory_has_a_type(error: RuntimeError) -> None:
    """Whatever words a device uses for exhausted memory, the worker sees OutOfMemory."""
    with pytest.raises(OutOfMemory), memory_errors():
        raise error


def test_other_device_errors_pass() -> None:
    """A poisoned device's error reaches the worker as it is."""
    with pytest.raises(RuntimeError, match="illegal memory access"), memory_errors():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_real_allocation_failure_is_out_of_memory() -> None:
    """torch's own CPU failure is recognised by its text."""
    work = HostLane().submit({}, lambda _: torch.empty(1 << 50))
    with pytest.raises(OutOfMemory):
        work()


def test_number_types_and_devices() -> None:
    """The CPU computes in float32 unless told otherwise; what the machine lacks is named with what to use instead."""
    assert choose_dtype(CPU, "auto") is torch.float32
    assert choose_dtype(CPU, "bfloat16") is torch.bfloat16
    assert choose_kernel(CPU, torch.float32, "auto").name == "sdpa-runs"
    with pytest.raises(SettingError, match="CUDA"):
        choose_kernel(CPU, torch.bfloat16, "varlen")
    with pytest.raises(SettingError, match="not known"):
        open_device("tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(StartError, match=r"RERANKER_DEVICE=cpu|0 CUDA devices"):
            open_device("cuda:0")


@pytest.mark.parametrize("native", [True, False])
def test_a_slow_number_type_is_told(native: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """bfloat16 on a processor without its instructions runs, since it saves memory, but not without a word."""
    monkeypatch.setattr(load, "has_bfloat16", lambda: native)
    assert choose_dtype(CPU, "bfloat16") is torch.bfloat16
    assert choose_dtype(CPU, "auto") is torch.float32
    assert [("slower than 'float32'" in record.message) for record in caplog.records] == ([] if native else [True])


def test_threads_are_set() -> None:
    """The option sets torch's threads for one forward."""
    before = torch.get_num_threads()
    try:
        load_scorer(encoder_of("bert").card, ScoringOptions(forward="transformers", threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@given(st.integers(1, 5000), st.integers(1, 600))
def test_what_a_start_measures_has_the_lengths_of_real_batches(tokens: int, longest: int) -> None:
    """All the tokens asked for, nothing too long, the same every time; and unlike each other as soon as there is room for it."""
    lengths = mixed_lengths(tokens, longest)
    assert lengths.dtype == np.int32
    assert int(lengths.sum()) == tokens
    assert 1 <= lengths.min() <= lengths.max() <= longest
    np.testing.assert_array_equal(mixed_lengths(tokens, longest), lengths)
    if tokens >= 2048 and longest >= 256:
        assert len(set(lengths.tolist())) > len(lengths) / 2
        assert 60 < lengths.mean() < 150

"""On CUDA a scorer agrees with float32 on the CPU, waits for nothing before collect, and outlives exhausted memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from batching.scoring.graphs import CAPTURE_AT, GraphedForward
from batching.scoring.options import DTypeChoice
from batching.types import OutOfMemory
from tests.checkpoints import QUERY, SENTENCES
from tests.models.cases import CASES, PAIRS, encoded, scale, scorer_of
from tests.models.packs import chosen, joined, scores

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """float32 products are float32, not TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_agrees_with_the_cpu(name: str, dtype: DTypeChoice) -> None:
    """float32 to rounding, half precision within the family's bound, by the kernel that the machine would choose."""
    request = encoded(name, QUERY, PAIRS)
    want = scores(scorer_of(name), request)
    bound = 2e-5 * scale(want) if dtype == "float32" else CASES[name].bfloat16 * float(np.ptp(want))
    got = scores(scorer_of(name, device="cuda:0", dtype=dtype), request)
    assert np.abs(got - want).max() <= bound


@pytest.mark.parametrize("name", CASES)
def test_auto_is_half_precision_on_a_varlen_kernel(name: str) -> None:
    """On a card that has bfloat16, auto takes it with a FlashAttention kernel."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this card is older than compute capability 8.0")
    scorer = scorer_of(name, device="cuda:0")
    assert scorer.dtype == "bfloat16"
    assert scorer.backend.partition("+")[0] in ("flash-attn", "torch-varlen") or scorer.padded


@pytest.mark.parametrize("name", CASES)
def test_launch_does_not_synchronise(name: str) -> None:
    """Between launch and collect the host never waits for the device; torch reports every place where it would."""
    scorer, request = scorer_of(name, device="cuda:0"), encoded(name, QUERY, PAIRS)
    if scorer.padded:
        pytest.skip("a body outside the attention interface is run by transformers' own code, which may wait")
    if CASES[name].listwise:
        pytest.skip("a listwise request is one sequence")
    want = scores(scorer, request)
    for _ in range(CAPTURE_AT):  # graphs are captured, which does wait
        for part in (range(9), range(9, len(PAIRS))):
            scorer.launch(joined([chosen(request, part)]))()
    torch.cuda.set_sync_debug_mode("error")
    try:
        collects = [scorer.launch(joined([chosen(request, part)])) for part in (range(9), range(9, len(PAIRS)))]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    got = np.concatenate([collect() for collect in collects])
    np.testing.assert_allclose(got, want, atol=CASES[name].bfloat16 * float(np.ptp(want)), rtol=0)


@pytest.mark.parametrize("name", ["xlm-roberta", "modernbert mean", "qwen3"])
def test_graphs_and_compiled_blocks_score_the_same(name: str) -> None:
    """Replayed and compiled rows stay within the family's bound of the plain ones, and something was captured."""
    request = encoded(name, QUERY, SENTENCES)
    want = scores(scorer_of(name), request)
    scorer = scorer_of(name, device="cuda:0", compiled="on")
    if not isinstance(scorer._forward, GraphedForward):
        pytest.skip("this card has no varlen kernel")
    scorer.prepare()
    for _ in range(CAPTURE_AT + 2):
        assert np.abs(scores(scorer, request) - want).max() <= CASES[name].bfloat16 * float(np.ptp(want))
    assert scorer._forward.trouble == ""
    assert scorer._forward._captured


def test_exhausted_memory_is_survived() -> None:
    """A batch that the card can't hold raises OutOfMemory, and the next one is scored as before."""
    scorer = scorer_of("xlm-roberta", device="cuda:0")
    request = encoded("xlm-roberta", QUERY, SENTENCES)
    before = scores(scorer, request)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (64 << 20)) / total)
    try:
        with pytest.raises(OutOfMemory):
            scorer.warm_up(2_000_000)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(scores(scorer, request), before, atol=1e-6)

"""On CUDA image documents score as on the CPU, beside captured graphs and compiled blocks, and launching them waits for nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from batching.scoring.options import DTypeChoice
from tests.checkpoints import QUERY
from tests.models.cases import encoded, scale, scorer_of
from tests.models.packs import scores
from tests.models.test_images import NAME, PICTURES, TEXTS, pack_of, reference, request, some

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_images_agree_with_the_reference(dtype: DTypeChoice) -> None:
    """float32 to rounding, half precision within a share of the spread; text between the images takes its own way and stays the same."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        want = reference(TEXTS, PICTURES)
        scorer = scorer_of(NAME, device="cuda:0", dtype=dtype)
        text = encoded(NAME, QUERY, ["plain words", "more of them"])
        first = scores(scorer, text)
        bound = 2e-5 * scale(want) if dtype == "float32" else 0.08 * float(np.ptp(want))
        for _ in range(3):
            assert np.abs(scorer.launch(pack_of(request()))() - want).max() <= bound
            np.testing.assert_allclose(scores(scorer, text), first, atol=bound, rtol=0)
        for place in range(len(TEXTS)):
            assert np.abs(scorer.launch(pack_of(some([place])))() - want[[place]]).max() <= bound
    finally:
        torch.set_float32_matmul_precision(before)


def test_launching_images_does_not_synchronise() -> None:
    """Between launch and collect the host never waits for the device."""
    scorer = scorer_of(NAME, device="cuda:0", dtype="bfloat16")
    want = scorer.launch(pack_of(request()))()
    torch.cuda.set_sync_debug_mode("error")
    try:
        collect = scorer.launch(pack_of(request()))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_allclose(collect(), want, atol=1e-2 * scale(want), rtol=0)

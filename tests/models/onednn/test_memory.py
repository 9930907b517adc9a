"""Memory: packed once, and no more after many batches of many shapes than after a few."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import psutil
import pytest
import torch

from batching.scoring.onednn import PackedEncoder, available
from tests.models.onednn.models import VOCABULARY, batch_of, model_of

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
GROWTH = 24 * 2**20
"""Bytes that 400 further batches may add; a leak of one batch's states would be 200 MiB."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_does_not_grow_with_shapes(dtype: torch.dtype) -> None:
    """The resident set after 500 batches of random shapes is what it was after the first 100."""
    if available(dtype) is not None:
        pytest.skip(str(available(dtype)))
    encoder = PackedEncoder(model_of("bert", num_hidden_layers=1), dtype, read="first")
    rng = np.random.default_rng(5)
    process = psutil.Process()
    resident = 0
    for number in range(500):
        lengths = rng.integers(1, 256, rng.integers(1, 16)).astype(np.int32)
        encoder(rng.integers(0, VOCABULARY, int(lengths.sum()), dtype=np.int32), lengths)
        if number == 100:
            resident = process.memory_info().rss
    assert process.memory_info().rss - resident < GROWTH


def test_the_model_can_go() -> None:
    """Only the embedding tables of the model are kept, and they are not copied."""
    model = model_of.__wrapped__("bert")
    words = model.embeddings.word_embeddings.weight
    encoder = PackedEncoder(model)
    layers = weakref.ref(model.encoder.layer[0].attention.self.query.weight)
    assert encoder._embeddings._words.data_ptr() == words.data_ptr()
    del model
    gc.collect()
    assert layers() is None
    encoder(*batch_of([3, 4]))
    assert encoder.nbytes() > words.nbytes

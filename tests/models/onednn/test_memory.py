"""Memory: packed once, and no more after many batches of many shapes than after a few."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray

from batching.scoring.onednn import PackedEncoder, available
from batching.scoring.onednn.fastest import Backend
from batching.scoring.onednn.rows import round_rows
from tests.models.onednn.models import BACKENDS, batch_of, model_of

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
GROWTH = 16 * 2**20
"""Bytes that 500 further batches may add; keeping one product of each would be 300 MiB."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_does_not_grow_with_batches(dtype: torch.dtype, backend: Backend) -> None:
    """Once every shape has been seen, 500 batches of random lengths leave the resident set where it was."""
    if available(dtype) is not None:
        pytest.skip(str(available(dtype)))
    encoder = PackedEncoder(model_of("bert", num_hidden_layers=2), dtype, read="first", backend=backend)

    def run(lengths: NDArray[np.int32]) -> None:
        encoder(np.ones(int(lengths.sum()), dtype=np.int32), lengths)

    for count in sorted({round_rows(tokens) for tokens in range(1, 2049)}, reverse=True):
        run(np.full(count // 16, 16, dtype=np.int32))
    for length in range(1, 129):
        for many in (8, 4, 2, 1):
            run(np.full(many, length, dtype=np.int32))
    rng = np.random.default_rng(5)
    process = psutil.Process()
    resident = 0
    for number in range(600):
        if number == 100:
            resident = process.memory_info().rss
        run(rng.integers(1, 129, rng.integers(1, 25)).astype(np.int32))
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

"""The measurement at start: never a forward that disagrees, and the faster one of two that agree."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from batching.scoring.onednn import PackedEncoder, available, choose, unsupported
from batching.scoring.onednn.choose import make_probe, probe_tokens
from batching.types import Int32s
from tests.models.onednn.models import LONGEST, VOCABULARY, model_of, padded, read

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


class Generic:
    """Hugging Face's padded forward, made slower by `pause` seconds and wrong by `error`."""

    def __init__(self, pause: float = 0.0, error: float = 0.0) -> None:
        self.pause, self.error = pause, error

    def __call__(self, ids: Int32s, lengths: Int32s, types: Int32s | None) -> Tensor:
        time.sleep(self.pause)
        zeros = np.zeros_like(ids)
        hidden = read(padded(model_of("bert"), ids, lengths, zeros), "first")
        return hidden + self.error


def test_the_faster_forward_is_chosen() -> None:
    """Against a slow forward the packed one wins, and says by how much."""
    choice = choose(PackedEncoder(model_of("bert"), read="first"), Generic(pause=0.2), vocabulary=VOCABULARY, longest=LONGEST, seconds=0.1)
    assert choice.packed
    assert choice.speedup > 2
    assert choice.drift < 1e-4
    assert "times as fast" in choice.reason


def test_a_forward_that_disagrees_is_never_chosen() -> None:
    """However slow the other is, a difference beyond the number type's own loses."""
    choice = choose(
        PackedEncoder(model_of("bert"), read="first"), Generic(pause=0.2, error=0.01), vocabulary=VOCABULARY, longest=LONGEST, seconds=0.1
    )
    assert not choice.packed
    assert "disagrees" in choice.reason


def test_the_probe_suits_the_model() -> None:
    """A large model gets a small probe, and no sequence is longer than the model allows."""
    assert probe_tokens(40_000_000, 1.0) > probe_tokens(1_200_000_000, 1.0) >= 64
    ids, lengths, _ = make_probe(512, 50, 30)
    assert lengths.max() == 30
    assert len(ids) == lengths.sum()
    assert 0 <= ids.min() <= ids.max() < 50


def test_what_is_not_supported_is_said() -> None:
    """An unknown activation or number type is refused with its name."""
    model = model_of("bert", hidden_act="gelu_10")
    assert "gelu_10" in str(unsupported(model))
    with pytest.raises(ValueError, match="gelu_10"):
        PackedEncoder(model)
    with pytest.raises(ValueError, match="float16"):
        PackedEncoder(model_of("bert"), torch.float16)
    assert unsupported(model_of("electra")) is None
    assert "float16" in str(available(torch.float16))

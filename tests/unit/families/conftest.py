"""One checkpoint of each family for all tests here, with its card and its reference tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from batching.families.card import ModelCard
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints

Make = Callable[..., Path]


class Shelf:
    """Makes each checkpoint once and opens it from both sides."""

    def __init__(self, root: Path) -> None:
        self.path = cache(lambda name: getattr(checkpoints, name)(root / name))
        self.card: Callable[[str], ModelCard] = cache(lambda name: detect(self.path(name), name))
        self.encoder: Callable[[str], Encoder] = cache(lambda name: Encoder(self.card(name)))
        self.reference: Callable[[str], PreTrainedTokenizerBase] = cache(lambda name: AutoTokenizer.from_pretrained(self.path(name)))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("checkpoints"))

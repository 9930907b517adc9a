"""One checkpoint of each family for all tests here, with its card and its reference tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import transformers
from transformers import PreTrainedTokenizerBase

from batching.families.card import ModelCard
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints

Make = Callable[..., Path]


class Shelf:
    """Makes each checkpoint once and opens it from both sides."""

    def __init__(self, root: Path) -> None:
        self.path = cache(lambda name: getattr(checkpoints, name)(root / name))
        self.card: Callable[[str], ModelCard] = cache(lambda name: detect(self.path(name), name, checkpoints.RECIPES.get(name)))
        self.encoder: Callable[[str], Encoder] = cache(lambda name: Encoder(self.card(name)))
        self.reference: Callable[[str], PreTrainedTokenizerBase] = cache(lambda name: open_tokenizer(self.path(name)))


def open_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """transformers' own tokenizer, by the class that tokenizer_config.json names, since some config.json name code that is not there."""
    name = json.loads((path / "tokenizer_config.json").read_text())["tokenizer_class"]
    kind = getattr(transformers, name, transformers.PreTrainedTokenizerFast)
    tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(path)
    return tokenizer


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("checkpoints"))

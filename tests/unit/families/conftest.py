"""One checkpoint of each family for all tests here, with its card and its reference tokenizer."""

from __future__ import annotations

import base64
import io
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


@pytest.fixture(scope="session")
def charsmap() -> str:
    """SentencePiece's table of characters in base64, as a tokenizer.json holds it."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs sentencepiece (the test extra)")
    from sentencepiece import sentencepiece_model_pb2

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f", "the quick brown fox"] * 9),
        model_writer=written,
        vocab_size=22,
        model_type="unigram",
        minloglevel=2,
        hard_vocab_limit=False,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(written.getvalue())
    return base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()

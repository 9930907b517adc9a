"""ASCII text skips the normalizer and is tokenized to the same ids."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from batching.families.plain import ALPHABETS, Plain
from tests import checkpoints
from tests.unit.families.conftest import Shelf

NAMES = sorted(name for name in checkpoints.__all__ if name.islower())
SKIPPING = ["bert", "bi_encoder", "colbert", "electra"]
"""Some whose normalizers ASCII text can skip."""
WORDS = ["Café", "Ångström", "东京", "ﬁne", "e\u0301", "a\u200bb", "½"]
ascii_text = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=200)
LIKELY = "The  quick\tBrown fox's 3.5 jumps,\r\nover [CLS] the </s> LAZY dog!\n\n<mask>\x00\x07\x7f ok "


def whole(shelf: Shelf, name: str, texts: list[str]) -> list[list[int]]:
    """Ids by the whole tokenizer, its normalizer included."""
    return [found.ids for found in shelf.encoder(name).vocabulary.tokenizer.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_whole_tokenizer(shelf: Shelf, name: str) -> None:
    """Every ASCII character, special tokens, line ends, and texts of both kinds in one call, in their order."""
    texts = [LIKELY, *WORDS, LIKELY.upper(), "".join(map(chr, range(128))), "", " ", "\r", "\r\n\r\n", "plain words", "Café 2"]
    assert shelf.encoder(name).vocabulary.ids(texts) == whole(shelf, name, texts)


@pytest.mark.parametrize("name", SKIPPING)
@given(texts=st.lists(ascii_text, max_size=4))
def test_ids_of_any_ascii_text(shelf: Shelf, name: str, texts: list[str]) -> None:
    """Whatever ASCII characters stand beside each other."""
    vocabulary = shelf.encoder(name).vocabulary
    assert vocabulary._plain is not None
    assert vocabulary.ids(texts) == whole(shelf, name, texts)


def tokenizer_with(normalizer: Any) -> tuple[Tokenizer, dict[str, Any]]:
    spec = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"},
            "pre_tokenizer": {"type": "Whitespace"}, "normalizer": json.loads(normalizer.__getstate__())}  # fmt: skip
    return Tokenizer.from_str(json.dumps(spec)), spec


@pytest.mark.parametrize(
    ("normalizer", "skips"),
    [
        (normalizers.BertNormalizer(lowercase=False), True),
        (normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), True),
        (normalizers.Sequence([normalizers.NFC(), normalizers.Replace("b", "a")]), True),
        (normalizers.Replace("b", "a"), False),
        (normalizers.Sequence([normalizers.Strip(), normalizers.NFC()]), False),
        (normalizers.Prepend("b"), False),
    ],
    ids=str,
)
def test_only_what_stands_first_and_looks_at_single_characters_is_skipped(normalizer: Any, skips: bool) -> None:
    """What looks around itself is left to the library, alone or behind."""
    tokenizer, spec = tokenizer_with(normalizer)
    plain = Plain.of(tokenizer, spec)
    assert (plain is not None) is skips
    if plain is not None:
        for text in (LIKELY, "aBa b  a\nb"):
            assert plain.tokenizer.encode(plain.normalized(text)).ids == tokenizer.encode(text).ids


def test_other_added_tokens_are_looked_for_in_text_as_it_came() -> None:
    """A token of the vocabulary's own that is no special one may be written in capitals, and no text skips anything."""
    tokenizer, spec = tokenizer_with(normalizers.Lowercase())
    spec["added_tokens"] = [{"content": "B A", "special": False}]
    assert Plain.of(tokenizer, spec) is None


def test_the_model_is_shared() -> None:
    """A second vocabulary of 250,000 pieces would be 300 MB: both tokenizers have one model."""
    tokenizer, spec = tokenizer_with(normalizers.Lowercase())
    plain = Plain.of(tokenizer, spec)
    assert plain is not None
    tokenizer.model.unk_token = "b"
    assert plain.tokenizer.model.unk_token == "b"


def test_sentencepieces_own_normalizer(charsmap: str) -> None:
    """Its table of characters, as XLM-RoBERTa's tokenizers carry it, is skipped too, but for text with carriage returns."""
    normalizer = normalizers.Sequence([normalizers.Precompiled(base64.b64decode(charsmap)), normalizers.Replace("  ", " ")])
    tokenizer, spec = tokenizer_with(normalizers.Lowercase())
    spec["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap},
                                                              {"type": "Replace", "pattern": {"String": "  "}, "content": " "}]}  # fmt: skip
    tokenizer.normalizer = normalizer
    plain = Plain.of(tokenizer, spec)
    assert plain is not None
    assert not plain.reads("a\r\nb")
    for text in (LIKELY.replace("\r", ""), ALPHABETS[1], "a\n\nb\tc"):
        assert plain.reads(text)
        assert plain.tokenizer.normalizer.normalize_str(plain.normalized(text)) == normalizer.normalize_str(text)

"""Ids of pair encoders equal those of transformers' own tokenizer call."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batching.errors import InvalidRequest
from batching.families.encode import Encoded
from tests.checkpoints import DOCUMENTS, QUERY, SENTENCES
from tests.unit.families.conftest import Shelf

PAIRS = ("xlm_roberta", "bert", "electra", "modernbert", "ettin", "gte", "deberta", "albert", "distilbert")

NASTY = (
    "",
    " ",
    "\n\t ",
    "  two  spaces  ",
    "\u0301combining",
    "e\u0301\u0301",
    "\u200b\u200dzero width",
    "\ufeffbom",
    "a\0b",
    "ﷺ ﬁne ½ Ⅷ",
    "🙂👨‍👩‍👧🇩🇪",
    "ДЛЯ ЖЮРИ и для всех",
    "東京は日本の首都であり、世界最大の都市",
    "a" * 150,
    "-" * 300,
    "line one\nline two\r\nline three",
    "{query} {document} {instruction} %s {0}",
    "\u2028\u2029\x85",
    "x" + "\u0300" * 40,
)


def rows(encoded: Encoded) -> list[list[int]]:
    """The sequences as lists."""
    ends = np.cumsum(encoded.sequences.lengths)
    return [part.tolist() for part in np.split(encoded.sequences.ids, ends[:-1])]


def types(encoded: Encoded) -> list[list[int]]:
    """Token types as the splits stand for them."""
    pairs = zip(encoded.sequences.lengths.tolist(), encoded.sequences.splits.tolist(), strict=True)
    return [[0] * split + [1] * (length - split) if split else [0] * length for length, split in pairs]


def assert_same(shelf: Shelf, name: str, query: str, documents: list[str], max_length: int = 512) -> Encoded:
    ours = shelf.encoder(name).encode(query, documents, max_length=max_length)
    # lists, because transformers takes an empty second text given alone for none at all
    theirs = shelf.reference(name)([query] * len(documents), documents, truncation="only_second", max_length=max_length)
    assert rows(ours) == theirs["input_ids"]
    if shelf.card(name).family.token_types:
        assert types(ours) == theirs["token_type_ids"]
    else:
        assert shelf.card(name).config.get("type_vocab_size", 0) < 2
    assert ours.pair_tokens.tolist() == [len(row) for row in rows(ours)]
    assert ours.sequences.scores == len(documents)
    return ours


@pytest.mark.parametrize("name", PAIRS)
def test_ordinary_and_nasty_text(shelf: Shelf, name: str) -> None:
    """Whatever stands in query and documents, ids and token types are the reference's."""
    assert_same(shelf, name, QUERY, [*DOCUMENTS, *NASTY])
    for query in NASTY:
        assert_same(shelf, name, query, list(DOCUMENTS[:3]), max_length=512)


@pytest.mark.parametrize("name", PAIRS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(max_size=20),
    documents=st.lists(st.one_of(st.text(max_size=200), st.sampled_from(SENTENCES)), min_size=1, max_size=4),
    max_length=st.integers(min_value=64, max_value=512),
)
def test_any_text(shelf: Shelf, name: str, query: str, documents: list[str], max_length: int) -> None:
    """Any text gives the reference's ids at any max_length, unless it holds a special token or a query over its share."""
    reference = shelf.reference(name)
    if any(token in text for token in reference.all_special_tokens for text in (query, *documents)):
        return
    try:
        assert_same(shelf, name, query, documents, max_length)
    except InvalidRequest as error:
        assert error.field == "query"


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("max_length", [32, 64, 512])
def test_long_documents_are_cut_as_the_reference_cuts_them(shelf: Shelf, name: str, max_length: int) -> None:
    """Only the document is cut, on the right, and the result says so."""
    text = " ".join(SENTENCES)
    documents = [text[:600], text * 3, "fox", "東京は日本の首都であり" * 80, "no" + "space" * 900]
    ours = assert_same(shelf, name, "capital", documents, max_length)
    whole = [len(shelf.reference(name)("capital", document)["input_ids"]) for document in documents]
    assert ours.truncated.tolist() == [length > max_length for length in whole]


@pytest.mark.parametrize("name", PAIRS)
def test_special_tokens_in_text_stay_text(shelf: Shelf, name: str) -> None:
    """No query or document produces a special token, wherever its markup stands."""
    reference = shelf.reference(name)
    tokens = [token for token in reference.all_special_tokens if token != reference.unk_token]
    special = set(reference.convert_tokens_to_ids(tokens))
    for token in tokens:
        text = f"{token} a{token}b {token}{token}\n{token}"
        ours = rows(shelf.encoder(name).encode(text, [text, "plain"]))
        plain = rows(shelf.encoder(name).encode("a", ["b"]))[0]
        for row in ours:
            assert sum(number in special for number in row) == sum(number in special for number in plain)


def test_the_order_of_documents_does_not_matter(shelf: Shelf) -> None:
    """Each document's ids are the same in any company and any order."""
    encoder = shelf.encoder("xlm_roberta")
    forward, backward = rows(encoder.encode(QUERY, DOCUMENTS)), rows(encoder.encode(QUERY, DOCUMENTS[::-1]))
    assert forward == backward[::-1]
    assert forward == [rows(encoder.encode(QUERY, [document]))[0] for document in DOCUMENTS]

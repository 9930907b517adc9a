"""Ids of late-interaction models equal those of sentence-transformers' MultiVectorEncoder."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY
from tests.unit.families.test_pair_ids import rows

sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.0")


def attended(features: dict[str, object]) -> list[list[int]]:
    """Each row's ids where its mask is one."""
    pairs = zip(features["input_ids"].tolist(), features["attention_mask"].tolist(), strict=True)  # type: ignore[attr-defined]
    return [[number for number, seen in zip(ids, mask, strict=True) if seen] for ids, mask in pairs]


@pytest.mark.parametrize("saved_again", [False, True])
@pytest.mark.parametrize("attend", [False, True])
def test_ids(tmp_path: Path, attend: bool, saved_again: bool) -> None:
    """Markers, the query's filling where it is attended to, and the skipped tokens are those of the library, for old files and new."""
    directory = checkpoints.colbert(tmp_path / "stanford", attend=attend)
    reference = sentence_transformers.MultiVectorEncoder(str(directory), device="cpu")
    if saved_again:
        directory = tmp_path / "again"
        reference.save_pretrained(str(directory))
    card = detect(directory, "m")
    documents = [*DOCUMENTS, "word " * 400]
    ours = Encoder(card).encode(QUERY, documents)
    query = reference.preprocess([QUERY], prompt=reference.prompts["query"], task="query")
    theirs = reference.preprocess(documents, prompt=reference.prompts["document"], task="document")
    assert rows(ours) == attended(query) + attended(theirs)
    assert ours.sequences.shared
    assert ours.truncated.tolist() == [False] * len(DOCUMENTS) + [True]
    known = reference.tokenizer.get_vocab()
    assert set(card.family.skip) == {word for word in string.punctuation if word in known}


def test_markers_in_text_stay_text(tmp_path: Path) -> None:
    """A document can't write a marker."""
    encoder = Encoder(detect(checkpoints.colbert(tmp_path), "m"))
    marker = encoder.vocabulary.token("[unused1]")
    assert [row.count(marker) for row in rows(encoder.encode("a [unused1]", ["[unused1] [unused1]x", "b"]))] == [0, 1, 1]

"""Ids of late-interaction models equal those of sentence-transformers' MultiVectorEncoder."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY
from tests.checkpoints.weights import edit_json
from tests.unit.families.test_pair_ids import rows

sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.0")


def attended(features: dict[str, object]) -> list[list[int]]:
    """Each row's ids where its mask is one."""
    pairs = zip(features["input_ids"].tolist(), features["attention_mask"].tolist(), strict=True)  # type: ignore[attr-defined]
    return [[number for number, seen in zip(ids, mask, strict=True) if seen] for ids, mask in pairs]


@pytest.mark.parametrize("saved_again", [False, True])
@pytest.mark.parametrize("attend", [False, True])
def test_ids(tmp_path: Path, attend: bool, saved_again: bool) -> None:
    """Markers, the query's filling, what of it is attended to and the skipped tokens are those of the library, for old files and new."""
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
    assert rows(ours) == query["input_ids"].tolist() + attended(theirs)
    seen = int(query["attention_mask"].sum())
    assert ours.sequences.splits.tolist() == [0 if attend else seen] + [0] * len(documents)
    assert seen == 32 if attend else seen < 32
    assert ours.sequences.shared
    assert ours.truncated.tolist() == [False] * len(DOCUMENTS) + [True]
    known = reference.tokenizer.get_vocab()
    assert set(card.family.skip) == {word for word in string.punctuation if word in known}


def test_markers_in_text_stay_text(tmp_path: Path) -> None:
    """A document can't write a marker."""
    encoder = Encoder(detect(checkpoints.colbert(tmp_path), "m"))
    marker = encoder.vocabulary.token("[unused1]")
    assert [row.count(marker) for row in rows(encoder.encode("a [unused1]", ["[unused1] [unused1]x", "b"]))] == [0, 1, 1]


@pytest.mark.parametrize("saved_again", [False, True])
@pytest.mark.parametrize("expands", [False, True])
def test_pylate_files(tmp_path: Path, expands: bool, saved_again: bool) -> None:
    """PyLate's own files, and the library's for the same model, say whether queries are filled up."""
    directory = checkpoints.modern_colbert(tmp_path / "pylate", do_query_expansion=expands)
    reference = sentence_transformers.MultiVectorEncoder(str(directory), device="cpu")
    if saved_again:
        directory = tmp_path / "again"
        reference.save_pretrained(str(directory))
    card = detect(directory, "m")
    ours = Encoder(card).encode(QUERY, DOCUMENTS)
    query = reference.preprocess([QUERY], prompt=reference.prompts["query"], task="query")
    assert rows(ours)[0] == query["input_ids"][0].tolist()
    assert len(rows(ours)[0]) == 32 if expands else card.family.expand_to == 0


def test_other_fillings(tmp_path: Path) -> None:
    """A token that the files name fills queries up; a longer query is read whole, and all of it is attended to."""
    directory = checkpoints.colbert(tmp_path / "m")
    edit_json(directory / "sentence_bert_config.json", query_expansion={"strategy": "min", "length": 20, "token": "[unused5]"})
    encoder = Encoder(detect(directory, "m"))
    filling = encoder.vocabulary.token("[unused5]")
    ours = encoder.encode("fox", DOCUMENTS)
    query = rows(ours)[0]
    assert (len(query), query.count(filling)) == (20, 20 - int(ours.sequences.splits[0]))
    long = encoder.encode("fox " * 40, DOCUMENTS)
    assert rows(long)[0].count(filling) == 0
    assert len(rows(long)[0]) > 40
    assert int(long.sequences.splits[0]) == 0

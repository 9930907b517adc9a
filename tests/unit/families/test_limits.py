"""Length limits: what is cut, what is refused, and that cutting by characters first changes nothing."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from batching.errors import InvalidRequest
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints
from tests.checkpoints import SENTENCES
from tests.checkpoints.weights import edit_json
from tests.unit.families.conftest import Shelf
from tests.unit.families.test_pair_ids import PAIRS, assert_same, rows

CHINESE = "北京是中国的首都也是全国的政治中心和文化中心"


def long_texts(count: int) -> dict[str, str]:
    """`count` characters of several kinds of text."""
    chance = random.Random(7)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    return {
        "words": " ".join(chance.choices(words, k=count // 5)),
        "no spaces": "".join(chance.choices(CHINESE, k=count)),
        "one word": "a" * count,
        "base64": "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=count)),
        "spaces": " " * count,
        "lines": "word\n" * (count // 5),
        "long words": " ".join("".join(chance.choices("abcdefg", k=chance.randint(80, 120))) for _ in range(count // 100)),
        "combining": "e\u0301" * (count // 2),
        "dashes": "- " * (count // 2),
    }


@pytest.mark.parametrize("name", ["xlm_roberta", "bert", "modernbert", "deberta"])
def test_long_text(shelf: Shelf, name: str) -> None:
    """A huge document of whatever kind gives exactly the ids of the whole text, cut."""
    for text in long_texts(150_000).values():
        assert_same(shelf, name, "what is it?", [text], max_length=128)


@pytest.mark.parametrize("name", ["xlm_roberta", "bert"])
def test_a_million_characters_cost_little(shelf: Shelf, name: str) -> None:
    """Words and Chinese of a million characters give the ids of the whole text in a fraction of its time."""
    encoder = shelf.encoder(name)
    texts = long_texts(1_000_000)
    for kind in ("words", "no spaces"):
        begin = time.perf_counter()
        whole = encoder.vocabulary.ids([texts[kind]])[0]
        middle = time.perf_counter()
        ours = encoder.encode("what is it?", [texts[kind]], max_length=128)
        assert time.perf_counter() - middle < (middle - begin) / 2, kind
        body = rows(ours)[0][ours.query_tokens + 1 :]
        assert whole[:100] == body[len(body) - 1 - (128 - len(rows(encoder.encode("what is it?", [""]))[0])) :][:100]


@pytest.mark.parametrize("name", PAIRS)
def test_left_side(shelf: Shelf, name: str) -> None:
    """Cut on the left, a document keeps its last tokens and the template all of its own."""
    encoder = shelf.encoder(name)
    for text in (" ".join(SENTENCES), " ".join(SENTENCES) * 50, CHINESE * 400):
        whole = rows(encoder.encode("capital", [text], max_length=512))[0]
        frame = rows(encoder.encode("capital", [""]))[0]
        ours = encoder.encode("capital", [text], max_length=40, side="left")
        ids = encoder.vocabulary.ids([text])[0]
        head = len(frame) - 1
        assert rows(ours)[0] == whole[:head] + ids[-(40 - len(frame)) :] + frame[-1:]
        assert ours.truncated.tolist() == [True]


@pytest.mark.parametrize(
    ("name", "side"), [("bert", "left"), ("xlm_roberta", "left"), ("modernbert", "left"), ("bert", "right"), ("bert", ...)]
)
def test_the_side_is_the_tokenizers(tmp_path: Path, name: str, side: object) -> None:
    """Documents are cut where tokenizer_config.json says so, as transformers cuts them, unless the caller says otherwise."""
    directory = getattr(checkpoints, name)(tmp_path / "m")
    edit_json(directory / "tokenizer_config.json", truncation_side=side)
    documents = [" ".join(SENTENCES), SENTENCES[0], "fox"]
    reference = AutoTokenizer.from_pretrained(directory)
    want = reference(["capital"] * 3, documents, truncation="only_second", max_length=40)["input_ids"]
    encoder = Encoder(detect(directory, "m"))
    assert rows(encoder.encode("capital", documents, max_length=40)) == want
    reference.truncation_side = "right"
    want = reference(["capital"] * 3, documents, truncation="only_second", max_length=40)["input_ids"]
    assert rows(encoder.encode("capital", documents, max_length=40, side="right")) == want


def test_the_side_of_a_bi_encoder(tmp_path: Path) -> None:
    """sentence-transformers leaves it to the tokenizer as well."""
    directory = checkpoints.bi_encoder(tmp_path / "m", max_length=24)
    edit_json(directory / "tokenizer_config.json", truncation_side="left")
    documents = [" ".join(SENTENCES), *SENTENCES[:3]]
    reference = AutoTokenizer.from_pretrained(directory)(["capital", *documents], truncation=True, max_length=24)["input_ids"]
    assert rows(Encoder(detect(directory, "m")).encode("capital", documents)) == reference


def test_a_template_keeps_its_side(tmp_path: Path) -> None:
    """What is cut of a prompt's document is the recipe's business: a tokenizer that cuts on the left would cut the prompt."""
    directory = checkpoints.qwen3(tmp_path / "m")
    edit_json(directory / "tokenizer_config.json", truncation_side="left")
    assert detect(directory, "m", checkpoints.RECIPES["qwen3"]).side == "right"


@pytest.mark.parametrize("name", PAIRS)
def test_a_long_query_is_refused(shelf: Shelf, name: str) -> None:
    """A query over its share of max_length is refused, with its field, its tokens, the limit and the setting; one below never is cut."""
    encoder = shelf.encoder(name)
    query = "fox " * 10_000
    with pytest.raises(
        InvalidRequest, match=r"query has more than \d+ tokens, at most 48 of max_length 64 \(RERANKER_MAX_LENGTH\)"
    ) as caught:
        encoder.encode(query, ["a"], max_length=64)
    assert caught.value.field == "query"
    with pytest.raises(InvalidRequest, match=r"query has \d+ tokens"):
        encoder.encode(query[:400], ["a"], max_length=64)
    with pytest.raises(InvalidRequest, match=rf"of max_length {encoder.card.max_length} \({encoder.card.name}'s own\) are allowed"):
        encoder.encode(query, ["a"], max_length=1_000_000)  # no setting would help
    assert encoder.encode(query[:40], ["a " * 500], max_length=64).sequences.lengths.tolist() == [64]


def test_no_truncation(shelf: Shelf) -> None:
    """With truncation off the first document that is too long is named, with its tokens and the limit; others pass."""
    encoder = shelf.encoder("bert")
    documents = ["fine", "the " * 60, "the " * 100_000]
    with pytest.raises(
        InvalidRequest, match=r"documents\[1\] has 60 tokens, at most \d+ fit .* max_length 32 \(RERANKER_MAX_LENGTH\)"
    ) as caught:
        encoder.encode("what?", documents, max_length=32, truncate=False)
    assert caught.value.field == "documents[1]"
    with pytest.raises(InvalidRequest, match=r"documents\[1\] has more than \d+ tokens"):
        encoder.encode("what?", documents[::2], max_length=32, truncate=False)
    assert not encoder.encode("what?", documents[:2], truncate=False).truncated.any()


def test_fewest_tokens(shelf: Shelf) -> None:
    """A max_length that the template fills is refused, and the most that the model can is never exceeded."""
    encoder = shelf.encoder("xlm_roberta")
    with pytest.raises(InvalidRequest, match="no room"):
        encoder.encode("a", ["b"], max_length=5)
    assert encoder.encode("the", ["the " * 5000], max_length=100_000).sequences.lengths.tolist() == [512]


def test_tokens_per_document(shelf: Shelf) -> None:
    """`document_tokens` bounds the document's own tokens and marks what it cut."""
    ours = shelf.encoder("bert").encode("what?", ["the the the", "the"], document_tokens=2)
    assert (ours.sequences.lengths - ours.sequences.lengths.min()).tolist() == [1, 0]
    assert ours.truncated.tolist() == [True, False]


@pytest.mark.parametrize("place", ["query", "documents"])
def test_lone_surrogates(shelf: Shelf, place: str) -> None:
    """Text that UTF-8 can't hold is the caller's mistake, named by its place."""
    query, documents = ("a\ud800", ["b"]) if place == "query" else ("a", ["b", "c\udfff"])
    with pytest.raises(InvalidRequest, match="surrogate") as caught:
        shelf.encoder("bert").encode(query, documents)
    assert caught.value.field == ("query" if place == "query" else "documents[1]")


def test_a_cache_changes_nothing(shelf: Shelf) -> None:
    """With a cache the ids are the same, whatever was asked for before, and a cut text is never taken for a whole one."""

    class Cache(dict[str, tuple[np.ndarray, bool]]):
        def put(self, text: str, ids: np.ndarray, complete: bool) -> None:
            self[text] = (ids, complete)

    from batching.families.encode import Encoder

    documents = ["fox", "fox " * 50, "fox jumps " * 2000, ""]
    cached, plain = Encoder(shelf.card("bert"), cache=Cache()), shelf.encoder("bert")
    for max_length in (32, 512, 64, 32):
        ours, theirs = cached.encode("dog", documents, max_length=max_length), plain.encode("dog", documents, max_length=max_length)
        assert rows(ours) == rows(theirs)
        assert ours.truncated.tolist() == theirs.truncated.tolist()

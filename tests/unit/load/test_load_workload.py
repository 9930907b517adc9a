"""The load's texts and lengths: repeatable, distributed as stated, and spoken in every dialect."""

from __future__ import annotations

import json
import math
import random
from itertools import pairwise

import pytest

from service.load.shapes import SHAPES, encode_body, reported_tokens, results_in
from service.load.workload import MIXED, SHORT, Shape, document_words, make_requests, pairs, sentences


def test_the_same_parameters_make_the_same_requests() -> None:
    """The seed decides every text; a longer list begins like a shorter one."""
    assert make_requests(5, seed=1) == make_requests(9, seed=1)[:5]
    assert make_requests(5, seed=1) != make_requests(5, seed=2)


def test_lengths_are_log_normal_within_their_bounds() -> None:
    """Logarithms of lengths have the stated median and sigma; cut at the bounds; documents within theirs."""
    rng = random.Random(0)
    lengths = [document_words(rng, MIXED) for _ in range(8000)]
    logs = sorted(math.log(length) for length in lengths)
    mean = sum(logs) / len(logs)
    assert math.exp(logs[len(logs) // 2]) == pytest.approx(MIXED.median_words, rel=0.04)
    assert math.sqrt(sum((value - mean) ** 2 for value in logs) / len(logs)) == pytest.approx(MIXED.sigma, rel=0.05)
    assert min(lengths) >= MIXED.low_words
    assert max(lengths) <= MIXED.high_words
    requests = make_requests(60)
    assert {len(request.documents) for request in requests} <= set(range(4, 33))
    assert pairs(requests) == sum(len(request.documents) for request in requests)


def test_a_text_has_as_many_words_as_it_was_asked_for() -> None:
    """Punctuation adds no word, and neighbouring documents differ."""
    rng = random.Random(1)
    assert [len(sentences(rng, count).split()) for count in (1, 2, 17, 380)] == [1, 2, 17, 380]
    documents = make_requests(1, SHORT)[0].documents
    assert {len(text.split()) for text in documents} == {40}
    assert all(a != b for a, b in pairwise(documents))


def test_sigma_zero_is_a_fixed_length() -> None:
    """Without spread every document has the median's length, and the description says so."""
    shape = Shape(median_words=7, sigma=0)
    assert {document_words(random.Random(seed), shape) for seed in range(20)} == {7}
    assert "7 words each" in shape.describe()
    assert "sigma 0.55" in MIXED.describe()


@pytest.mark.parametrize("dialect", sorted(SHAPES))
def test_every_dialect_carries_the_whole_request(dialect: str) -> None:
    """The query and every document are in the body, in order, under the dialect's names."""
    request = make_requests(1)[0]
    body = json.loads(encode_body(SHAPES[dialect], request))
    assert body["query"] == request.query
    assert tuple(body["texts" if dialect == "tei" else "documents"]) == request.documents


def test_answers_are_counted_without_decoding() -> None:
    """Results are counted by their index, tokens are read from usage, and nothing is made up."""
    body = json.dumps(
        {"results": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.1}], "usage": {"total_tokens": 77}}
    )
    for text in (body.encode(), body.replace(" ", "").encode()):
        assert results_in(SHAPES["native"], text) == 2
        assert reported_tokens(text) == 77
    assert reported_tokens(b"[]") == 0

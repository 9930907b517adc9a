"""Single pairs and plain lists of passages: a score without a ranking (`/rerank` with `passage`, `/rerank/batch`), and `/rerank/query`.

Scores are raw unless `normalize` is true; that is what the clients of these three expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from batching.errors import InvalidRequest
from service.dialects import options
from service.dialects.answers import complete, numbers
from service.dialects.body import Body
from service.dialects.fields import array, flag, most, strings, text, wrong
from service.dialects.groups import Place, group
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult


class PairAnswer(msgspec.Struct):
    """The score of one pair, and how many characters it was made of."""

    score: float
    normalized: bool
    query_length: int
    passage_length: int


class BatchAnswer(msgspec.Struct):
    """The scores of pairs, in the order of the pairs."""

    scores: list[float]
    normalized: bool
    pairs_count: int


class RankedPassage(msgspec.Struct):
    """A passage and its score."""

    passage: str
    score: float


class QueryAnswer(msgspec.Struct):
    """Passages, best first."""

    re_ranked: list[RankedPassage]


def decode_pair(body: Body, call: Call) -> Decoded:
    """Read one pair; raises InvalidRequest."""
    query, passage = text(body.query, "query"), text(body.passage, "passage")
    normalize = flag(body.normalize, "normalize")

    def encode(results: Sequence[RerankResult]) -> Answer:
        complete(results)
        return Answer(PairAnswer(numbers(results[0], not normalize)[0], normalize, len(query), len(passage)))

    return Decoded((options.request(body, query, [passage], named="passage"),), encode)


def decode_batch(body: Body, call: Call) -> Decoded:
    """Read pairs; raises InvalidRequest, TooLarge."""
    items = array(body.pairs, "pairs", call.max_documents)
    requests, places = group(body, [_pair(item, f"pairs[{index}]") for index, item in enumerate(items)], "pairs[{}].passage")
    return Decoded(requests, partial(_encode_batch, places=places, normalize=flag(body.normalize, "normalize")))


def decode_query(body: Body, call: Call) -> Decoded:
    """Read a query and passages; raises InvalidRequest, TooLarge."""
    query, passages = text(body.query, "query"), strings(body.passages, "passages", call.max_documents)
    normalize = flag(body.normalize, "normalize")

    def encode(results: Sequence[RerankResult]) -> Answer:
        complete(results)
        values = numbers(results[0], not normalize)
        return Answer(QueryAnswer([RankedPassage(passages[index], values[index]) for index in results[0].order]))

    return Decoded((options.request(body, query, passages, most(body.top_n, "top_n"), "passages[{}]"),), encode)


def _pair(item: Any, field: str) -> tuple[str, str]:
    if not isinstance(item, dict):
        raise wrong(field, "an object with query and passage", item)
    if "passage" not in item:
        raise InvalidRequest(f"{field}.passage: required, a string", f"{field}.passage")
    return text(item.get("query"), f"{field}.query"), text(item["passage"], f"{field}.passage")


def _encode_batch(results: Sequence[RerankResult], *, places: list[Place], normalize: bool) -> Answer:
    complete(results)
    values = [numbers(result, not normalize) for result in results]
    return Answer(BatchAnswer([values[request][index] for request, index in places], normalize, len(places)))


PAIR = Dialect("pair", decode_pair, (PairAnswer,))
BATCH = Dialect("pairs", decode_batch, (BatchAnswer,))
QUERY = Dialect("passages", decode_query, (QueryAnswer,))

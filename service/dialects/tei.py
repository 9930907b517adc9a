"""Text Embeddings Inference: `texts` in, a bare list out; `/predict` too (router/src/http/server.rs, router/src/http/types.rs at 0d124dc9).

All texts come back, whatever `top_n` says: TEI has none, and clients that send it count on every text. Its statuses and error bodies are
its own (`errors.py`); `/tokenize` is in `tei_tokens.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from batching.errors import InvalidRequest
from service.dialects import options
from service.dialects.answers import complete, numbers
from service.dialects.body import Body, convert
from service.dialects.fields import array, check_count, flag, inside, shown, strings, text, wrong
from service.dialects.groups import group
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankRequest, RerankResult

_LABEL = "LABEL_0"


class EmptyList(InvalidRequest):
    """`texts`, or the `inputs` of /tokenize, is an empty list, for which TEI has a status and an error type of its own."""

    error_type = "Empty"


class TeiRank(msgspec.Struct):
    """One text's score; `text` only with return_text."""

    index: int
    score: float
    text: str | UnsetType = UNSET


class TeiPrediction(msgspec.Struct):
    """A pair's score under its label."""

    score: float
    label: str = _LABEL


class VertexAnswer(msgspec.Struct):
    """What Vertex AI's prediction route wraps the answers of its instances in."""

    predictions: list[list[TeiRank]]


def decode(body: Body, call: Call) -> Decoded:
    """Read a rerank call; raises InvalidRequest, TooLarge."""
    ranked, encode = _rank(body, call)
    return Decoded((ranked,), lambda results: Answer(encode(results[0]), headers(results, ranked)))


def decode_vertex(body: Body, call: Call) -> Decoded:
    """Read Vertex AI's wrapping of several rerank calls; raises InvalidRequest, TooLarge."""
    instances = array(body.instances, "instances", call.max_documents)
    calls: list[tuple[RerankRequest, Callable[[RerankResult], list[TeiRank]]]] = []
    for index, item in enumerate(instances):
        instance = convert(item, f"instances[{index}]")
        with inside(f"instances[{index}]"):
            ranked, encode_one = _rank(instance, call)
        within = f"instances[{index}]."
        if calls and ranked.model != calls[0][0].model:
            # A call is admitted to one model's queue as a whole.
            raise InvalidRequest(
                f"{within}model: expected the one of instances[0] ({shown(calls[0][0].model)}), got {shown(ranked.model)}", f"{within}model"
            )
        calls.append((msgspec.structs.replace(ranked, named=f"{within}texts[{{}}]", within=within), encode_one))
    requests = tuple(ranked for ranked, _ in calls)
    check_count(sum(len(ranked.documents) for ranked in requests), "instances", call.max_documents)

    def encode(results: Sequence[RerankResult]) -> Answer:
        return Answer(VertexAnswer([one(result) for (_, one), result in zip(calls, results, strict=True)]), headers(results, *requests))

    return Decoded(requests, encode)


def decode_predict(body: Body, call: Call) -> Decoded:
    """Read pairs to classify: one pair of strings, or a list of pairs; raises InvalidRequest, TooLarge."""
    inputs = array(body.inputs, "inputs", call.max_documents)
    single = isinstance(inputs[0], str)
    pairs = [_pair(item, f"inputs[{index}]") for index, item in enumerate([inputs] if single else inputs)]
    requests, places = group(body, pairs, "inputs[1]" if single else "inputs[{}][1]")
    raw = flag(body.raw_scores, "raw_scores")

    def encode(results: Sequence[RerankResult]) -> Answer:
        complete(results)
        values = [numbers(result, raw) for result in results]
        found = [[TeiPrediction(values[request][index])] for request, index in places]
        return Answer(found[0] if single else found, headers(results, *requests))

    return Decoded(requests, encode)


def _rank(body: Body, call: Call) -> tuple[RerankRequest, Callable[[RerankResult], list[TeiRank]]]:
    query = text(body.query, "query")
    if body.texts == []:
        raise EmptyList("`texts` cannot be empty", "texts")
    texts = strings(body.texts, "texts", call.max_documents)
    echo, raw = flag(body.return_text, "return_text"), flag(body.raw_scores, "raw_scores")
    return options.request(body, query, texts, named="texts[{}]"), partial(_ranks, texts=texts if echo else None, raw=raw)


def _ranks(result: RerankResult, *, texts: list[str] | None, raw: bool) -> list[TeiRank]:
    complete([result])
    values = numbers(result, raw)
    return [TeiRank(index, values[index], UNSET if texts is None else texts[index]) for index in result.order]


def _pair(item: Any, field: str) -> tuple[str, str]:
    if not isinstance(item, list) or len(item) != 2:
        raise wrong(field, "a pair of strings: a query and a document", item)
    if not isinstance(item[1], str):
        raise wrong(f"{field}[1]", "a string", item[1])
    return text(item[0], f"{field}[0]"), item[1]


def headers(results: Sequence[RerankResult], *requests: RerankRequest) -> dict[str, str]:
    """TEI's headers: times in whole milliseconds, sizes in characters and tokens."""
    times = [result.timings for result in results]
    spent = {
        "x-total-time": max((time.total_s for time in times), default=0.0),
        "x-tokenization-time": max((time.tokenize_s for time in times), default=0.0),
        "x-queue-time": max((time.queue_s for time in times), default=0.0),
        "x-inference-time": max((time.forward_s for time in times), default=0.0),
    }
    characters = sum(len(request.query) * len(request.documents) + sum(map(len, request.documents)) for request in requests)
    return {
        # TEI sends this word on every device.
        "x-compute-type": "gpu+optimized",
        "x-compute-time": str(round(spent["x-total-time"] * 1000)),
        "x-compute-characters": str(characters),
        "x-compute-tokens": str(sum(result.pair_tokens for result in results)),
    } | {name: str(round(seconds * 1000)) for name, seconds in spent.items()}


DIALECT = Dialect("tei", decode, (list[TeiRank],), "tei")
PREDICT = Dialect("tei_predict", decode_predict, (list[list[TeiPrediction]], list[TeiPrediction]), "tei")
VERTEX = Dialect("tei_vertex", decode_vertex, (VertexAnswer,), "tei")

"""Pinecone: told by `X-Pinecone-Api-Version`, else by `Api-Key` beside objects; documents come back (pinecone SDK 10.2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import common, documents, options
from service.dialects.answers import Failure, Scored, failures, numbers, units
from service.dialects.body import Body
from service.dialects.fields import flag, text, wrong
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult


class RerankUnits(msgspec.Struct):
    """Pinecone's unit: a query with up to a hundred documents."""

    rerank_units: int


class PineconeAnswer(msgspec.Struct, kw_only=True):
    """The answer, best first."""

    model: str
    data: list[Scored]
    usage: RerankUnits
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read a rerank call; raises InvalidRequest, TooLarge."""
    query = text(body.query, "query")
    texts = documents.read(body.documents, "documents", call.max_documents, body.rank_fields)
    ranked = options.request(body, query, texts, common.top_n(body))
    if body.parameters is not None:
        if not isinstance(body.parameters, dict):
            raise wrong("parameters", "an object", body.parameters)
        truncate, side = options.truncation(body.parameters.get("truncate"), "parameters.truncate")
        ranked = msgspec.structs.replace(ranked, truncate=truncate, side=side)
    echo = flag(body.return_documents, "return_documents", True)
    return Decoded((ranked,), partial(_encode, given=body.documents if echo else None, texts=texts, raw=options.wants_raw(body)))


def matches(found: Any) -> bool:
    """Whether these documents may be Pinecone's, which takes objects only."""
    return isinstance(found, list) and all(isinstance(item, dict) for item in found)


def _encode(results: Sequence[RerankResult], *, given: list[Any] | None, texts: list[str], raw: bool) -> Answer:
    result = results[0]
    values, cut = numbers(result, raw), result.truncated.tolist()
    data = [Scored(index, values[index], UNSET, cut[index]) for index in result.order]
    if given is not None:
        for item in data:
            document = given[item.index]
            item.document = document if isinstance(document, dict) else {"text": texts[item.index]}
    return Answer(PineconeAnswer(model=result.model, data=data, usage=RerankUnits(units(len(texts))), errors=failures(result)))


DIALECT = Dialect("pinecone", decode, (PineconeAnswer,))

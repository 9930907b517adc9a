"""Voyage AI: `documents` with `top_k` or `truncation`, the two fields that its SDK always sends (voyageai 0.3.7, 0.5.0).

Elsewhere than on `/v1/rerank`, where its client goes, the same fields come from clients that read `results`: they get the common answer
with `data` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec import UNSET

from service.dialects import common, documents, options
from service.dialects.answers import Usage, failures, numbers, usage
from service.dialects.body import Body
from service.dialects.fields import flag, text
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankRequest, RerankResult

_PATH = "/v1/rerank"


class VoyageAnswer(msgspec.Struct, kw_only=True):
    """Voyage's answer: `data` best first, whose documents are strings."""

    object: str = "list"
    data: list[common.Datum]
    model: str
    usage: Usage


def decode(body: Body, call: Call) -> Decoded:
    """Read a Voyage call; raises InvalidRequest, TooLarge."""
    if call.path != _PATH:
        how = msgspec.structs.replace(common.style(body, call), data=True)
        decoded = common.read(body, call, how, common.top_n(body))
        return Decoded((_truncation(decoded.requests[0], body),), decoded.encode)
    query = text(body.query, "query")
    texts = documents.read(body.documents, "documents", call.max_documents, body.rank_fields)
    ranked = _truncation(options.request(body, query, texts, common.top_n(body)), body)
    echo = flag(body.return_documents, "return_documents")
    return Decoded((ranked,), partial(_encode, texts=texts if echo else None, raw=options.wants_raw(body)))


def _truncation(ranked: RerankRequest, body: Body) -> RerankRequest:
    if body.truncation is UNSET or body.truncation is None:
        return ranked
    return msgspec.structs.replace(ranked, truncate=flag(body.truncation, "truncation"))


def _encode(results: Sequence[RerankResult], *, texts: list[str] | None, raw: bool) -> Answer:
    result = results[0]
    failures(result)
    values = numbers(result, raw)
    data = [common.Datum(index, values[index], UNSET if texts is None else texts[index]) for index in result.order]
    return Answer(VoyageAnswer(data=data, model=result.model, usage=usage(result)))


DIALECT = Dialect("voyage", decode, (VoyageAnswer, common.RerankAnswer))

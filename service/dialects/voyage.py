"""Voyage AI: `documents` with `top_k` or `truncation`, the two fields that its SDK always sends (voyageai 0.3.7, 0.5.0).

The same fields come from clients that read `results`: they stand beside `data`, which Voyage's SDK reads past. Elsewhere than on
`/v1/rerank`, where its client goes, it is the common answer with `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import common
from service.dialects.answers import Failure, Usage
from service.dialects.body import Body
from service.dialects.fields import flag
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankRequest, RerankResult

_PATH = "/v1/rerank"


class VoyageAnswer(msgspec.Struct, kw_only=True):
    """Voyage's answer: `data` best first, whose documents are strings; the common `results`, whose documents are objects."""

    object: str = "list"
    data: list[common.Datum]
    results: list[common.Ranked]
    model: str
    usage: Usage
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read a Voyage call; raises InvalidRequest, TooLarge."""
    how = msgspec.structs.replace(common.style(body, call), data=call.path != _PATH)
    found = common.read(body, call, how, common.top_n(body))
    ranked = _truncation(found.requests[0], body)
    if how.data:
        return Decoded((ranked,), found.encode)
    return Decoded((ranked,), partial(_encode, encode=found.encode, texts=ranked.documents, how=how))


def _truncation(ranked: RerankRequest, body: Body) -> RerankRequest:
    if body.truncation is UNSET or body.truncation is None:
        return ranked
    return msgspec.structs.replace(ranked, truncate=flag(body.truncation, "truncation"))


def _encode(
    results: Sequence[RerankResult], *, encode: Callable[[Sequence[RerankResult]], Answer], texts: list[str], how: common.Style
) -> Answer:
    told: common.RerankAnswer = encode(results).content
    data = common.data(told.results, texts, how)
    return Answer(VoyageAnswer(data=data, results=told.results, model=told.model, usage=told.usage, errors=told.errors))


DIALECT = Dialect("voyage", decode, (VoyageAnswer, common.RerankAnswer))

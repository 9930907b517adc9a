"""Mixedbread: `input` is a list, ten results unless `top_k` says otherwise (mixedbread 0.54.0, mixedbread-ai 2.2.6, `/v1/reranking`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import documents, options
from service.dialects.answers import Failure, Usage, failures, numbers, usage
from service.dialects.body import Body
from service.dialects.fields import flag, most, text
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult

_TOP_K = 10


class RankResult(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One result; `input` is the document as it came, with return_input.

    No `object`: mixedbread names it rank_result and need not have it, mixedbread-ai refuses that name.
    """

    index: int
    score: float
    input: Any = UNSET
    truncated: bool = False


class MixedbreadAnswer(msgspec.Struct, kw_only=True):
    """The answer, best first."""

    usage: Usage
    model: str
    data: list[RankResult]
    object: str = "list"
    top_k: int
    return_input: bool
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read a reranking call; raises InvalidRequest, TooLarge."""
    query = text(body.query, "query")
    texts = documents.read(body.input, "input", call.max_documents, body.rank_fields)
    top_k = None if body.top_k is UNSET else most(body.top_k, "top_k")
    best = _TOP_K if top_k is None else top_k
    echo = flag(body.return_input, "return_input")
    encode = partial(_encode, given=body.input if echo else None, top_k=best or len(texts), raw=options.wants_raw(body))
    return Decoded((options.request(body, query, texts, best, "input[{}]"),), encode)


def _encode(results: Sequence[RerankResult], *, given: list[Any] | None, top_k: int, raw: bool) -> Answer:
    result = results[0]
    values, cut = numbers(result, raw), result.truncated.tolist()
    data = [
        RankResult(index=index, score=values[index], input=UNSET if given is None else given[index], truncated=cut[index])
        for index in result.order
    ]
    return Answer(
        MixedbreadAnswer(
            usage=usage(result),
            model=result.model,
            data=data,
            top_k=top_k,
            return_input=given is not None,
            errors=failures(result),
        )
    )


DIALECT = Dialect("mixedbread", decode, (MixedbreadAnswer,))

"""Alibaba's DashScope, native form: `input` is an object with query and documents (dashscope SDK 2.0.2).

Its OpenAI-compatible form (`/reranks`) is the common dialect, whose `instruct` is read there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import common, documents, options
from service.dialects.answers import Failure, failures, numbers
from service.dialects.body import Body, convert
from service.dialects.fields import flag, inside, name, text, wrong
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult


class Output(msgspec.Struct):
    """The results, best first."""

    results: list[common.Ranked]


class TotalUsage(msgspec.Struct):
    """Real tokens of all pairs."""

    total_tokens: int


class DashscopeAnswer(msgspec.Struct, kw_only=True):
    """The answer; its error bodies are in `errors.py`."""

    output: Output
    usage: TotalUsage
    request_id: str
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read a text-rerank call; raises InvalidRequest, TooLarge."""
    if body.parameters is not None and not isinstance(body.parameters, dict):
        raise wrong("parameters", "an object", body.parameters)
    wanted = convert(body.parameters or {}, "parameters")
    wanted.model = None
    asked = convert(body.input, "input")
    query, found = text(asked.query, "input.query"), asked.documents
    images: documents.Images = {}
    texts = documents.read(found, "input.documents", call.max_documents, images=images)
    with inside("parameters"):
        echo, raw = flag(wanted.return_documents, "return_documents"), options.wants_raw(wanted)
        ranked = options.request(wanted, query, texts, common.top_n(wanted), "input.documents[{}]", images)
    ranked = msgspec.structs.replace(ranked, model=name(body.model, "model"), within="parameters.")
    return Decoded((ranked,), partial(_encode, given=found if echo else None, texts=texts, raw=raw))


def _encode(results: Sequence[RerankResult], *, given: list[Any] | None, texts: list[str], raw: bool) -> Answer:
    result = results[0]
    values, cut = numbers(result, raw), result.truncated.tolist()
    ranked = [common.Ranked(index, values[index], UNSET, cut[index]) for index in result.order]
    if given is not None:
        for item in ranked:
            item.document = documents.given(given[item.index], texts[item.index])
    return Answer(
        DashscopeAnswer(output=Output(ranked), usage=TotalUsage(result.pair_tokens), request_id=result.id, errors=failures(result))
    )


DIALECT = Dialect("dashscope", decode, (DashscopeAnswer,), "dashscope")

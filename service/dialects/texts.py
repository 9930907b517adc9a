"""`texts` answered with an object: on `/reranking` and `/v1/reranking`, elsewhere where one of its own options stands beside them.

These are return_texts, top_k, return_documents and prefer_device. Unlike TEI's bare list; the texts come back unless told otherwise.
llama.cpp's clients read the same keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import common, options
from service.dialects.answers import Failure, Usage, failures, numbers, usage
from service.dialects.body import Body
from service.dialects.fields import flag, strings, text
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult


class TextRank(msgspec.Struct, omit_defaults=True):
    """One text's score; `text` is null where it was not wanted back."""

    index: int
    score: float
    text: str | None
    truncated: bool = False


class TextsAnswer(msgspec.Struct, kw_only=True):
    """The answer, best first."""

    model: str
    usage: Usage
    results: list[TextRank]
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read a call with `texts`; raises InvalidRequest, TooLarge."""
    query = text(body.query, "query")
    texts = strings(body.texts, "texts", call.max_documents)
    field = "return_documents" if body.return_texts is None else "return_texts"
    echo = flag(getattr(body, field), field, True)
    ranked = options.request(body, query, texts, common.top_n(body), "texts[{}]")
    return Decoded((ranked,), partial(_encode, texts=texts if echo else None, raw=options.wants_raw(body)))


def _encode(results: Sequence[RerankResult], *, texts: list[str] | None, raw: bool) -> Answer:
    result = results[0]
    values, cut = numbers(result, raw), result.truncated.tolist()
    ranks = [TextRank(index, values[index], None if texts is None else texts[index], cut[index]) for index in result.order]
    return Answer(TextsAnswer(model=result.model, usage=usage(result), results=ranks, errors=failures(result)))


DIALECT = Dialect("texts", decode, (TextsAnswer,))

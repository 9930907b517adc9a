"""The common dialect: one answer for every client that posts `query` and `documents`.

Cohere v1 and v2, Jina, vLLM, Infinity, Xinference, SiliconFlow, Together, LocalAI, llama.cpp, OpenRouter, Open WebUI, Dify, RAGFlow, and
the native `/rerank`. Extra keys are harmless to all of them, a key of the wrong kind is not: `document` stands only where it was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import documents, options
from service.dialects.answers import Failure, Usage, failures, numbers, units, usage, window
from service.dialects.body import Body
from service.dialects.fields import flag, most, text
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult, Window

_DATA_PATHS = frozenset({"/v1/rerank", "/api/v1/rerank"})
"""Where Voyage's clients may come without a mark of their own; elsewhere `data` would only double the answer."""
_ECHO_PATH = "/api/v1/rerank"
"""OpenRouter and the Jina seed give documents back there unless told not to."""
Echo = Literal["none", "object", "string"]


class Ranked(msgspec.Struct, omit_defaults=True):
    """One result: `document` only where asked for, `truncated` only where true, `window` only for a chunked document."""

    index: int
    relevance_score: float
    document: Any = UNSET
    truncated: bool = False
    window: Window | UnsetType = UNSET


class Datum(msgspec.Struct, omit_defaults=True):
    """The same result as Voyage's clients read it, whose document is a string."""

    index: int
    relevance_score: float
    document: str | UnsetType = UNSET


class ApiVersion(msgspec.Struct):
    """Cohere's version of its API."""

    version: str


class BilledUnits(msgspec.Struct):
    """Cohere's unit: a query with up to a hundred documents."""

    search_units: int


class Tokens(msgspec.Struct):
    """Cohere's count of tokens."""

    input_tokens: int
    output_tokens: int = 0


class Meta(msgspec.Struct):
    """Cohere's `meta`."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: Tokens


class RerankAnswer(msgspec.Struct, kw_only=True):
    """The answer; `data` on Voyage's paths, `scores` and `ranked_indices` in the plain dialect, `errors` where documents failed."""

    id: str
    object: str = "rerank"
    created: int
    model: str
    usage: Usage
    results: list[Ranked]
    data: list[Datum] | UnsetType = UNSET
    meta: Meta
    errors: list[Failure] | UnsetType = UNSET
    scores: list[float | None] | UnsetType = UNSET
    ranked_indices: list[int] | UnsetType = UNSET


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """How one call wants the answer."""

    echo: Echo = "none"
    data: bool = False
    raw: bool = False
    windows: bool = False
    version: str = "1"


def decode(body: Body, call: Call) -> Decoded:
    """Read a common call; raises InvalidRequest, TooLarge."""
    return read(body, call, style(body, call), top_n(body))


def read(body: Body, call: Call, how: Style, best: int | None) -> Decoded:
    """Read query, documents and options; `how` is the answer's style and `best` the number of results."""
    query = text(body.query, "query")
    images: documents.Images = {}
    given, named = documents.several(body.documents, "documents")
    texts = documents.read(given, "documents", call.max_documents, body.rank_fields, images, named)
    ranked = options.request(body, query, texts, best, named, images)
    return Decoded((ranked,), partial(_encode, given=given, texts=texts, how=how))


def style(body: Body, call: Call) -> Style:
    """What the answer must hold, by the body, the path and one client that no body tells apart."""
    echo = flag(body.return_documents, "return_documents", call.path == _ECHO_PATH)
    # litellm sends the same body for hosted_vllm, which takes no string there, and for infinity, which takes no object.
    hidden = call.path == "/rerank" and call.agent.startswith("litellm/")
    return Style(
        echo="object" if echo and not hidden else "none",
        data=call.path in _DATA_PATHS,
        raw=options.wants_raw(body),
        windows=flag(body.return_windows, "return_windows"),
        version="2" if call.path.startswith("/v2/") else "1",
    )


def top_n(body: Body) -> int | None:
    """`top_n`, else `top_k` where a client says it so."""
    if body.top_n is not None or body.top_k is UNSET:
        return most(body.top_n, "top_n")
    return most(body.top_k, "top_k")


def _encode(results: Sequence[RerankResult], *, given: list[Any], texts: list[str], how: Style) -> Answer:
    return Answer(build(results[0], given, texts, how))


def build(result: RerankResult, given: list[Any], texts: list[str], how: Style) -> RerankAnswer:
    """Lay a result out in the common shape; `given` are the documents as they came, `texts` as they were ranked."""
    values = numbers(result, how.raw)
    cut = result.truncated.tolist()
    ranked = [Ranked(index, values[index], UNSET, cut[index]) for index in result.order]
    if how.echo == "string":
        for item in ranked:
            item.document = texts[item.index]
    elif how.echo == "object":
        for item in ranked:
            item.document = documents.given(given[item.index], texts[item.index])
    if how.windows:
        for item in ranked:
            item.window = window(result, item.index)
    return RerankAnswer(
        id=result.id,
        created=result.created,
        model=result.model,
        usage=usage(result),
        results=ranked,
        # Voyage ranks strings only, so what came as objects came from another client.
        data=data(ranked, texts, how) if how.data and texts is given else UNSET,
        meta=Meta(ApiVersion(how.version), BilledUnits(units(len(texts))), Tokens(result.pair_tokens)),
        errors=failures(result),
    )


def data(ranked: list[Ranked], texts: list[str], how: Style) -> list[Datum]:
    """The same results for Voyage's clients."""
    if how.echo == "none":
        return [Datum(item.index, item.relevance_score) for item in ranked]
    return [Datum(item.index, item.relevance_score, texts[item.index]) for item in ranked]


DIALECT = Dialect("common", decode, (RerankAnswer,))

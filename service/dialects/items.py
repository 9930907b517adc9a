"""`/api/v1/rerank` with documents that carry an id and no model: the ids come back with their raw score as `similarity`.

The common answer stands beside it, for OpenRouter's and Jina-like clients that send the same body. Blank documents are dropped, and
nothing to rank is an empty answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import common, documents, options
from service.dialects.answers import Failure, Usage
from service.dialects.body import Body
from service.dialects.fields import array, text
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult


class Similarity(msgspec.Struct):
    """A document's own id and its raw score."""

    id: Any
    similarity: float


class ItemsAnswer(msgspec.Struct, kw_only=True):
    """The common answer with `data` of this dialect's own; only `data` and `results` where there was nothing to rank."""

    data: list[Similarity]
    results: list[common.Ranked]
    id: str | UnsetType = UNSET
    object: str | UnsetType = UNSET
    created: int | UnsetType = UNSET
    model: str | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    meta: common.Meta | UnsetType = UNSET
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read documents with ids; raises InvalidRequest, TooLarge."""
    given = array(body.documents, "documents", call.max_documents, least=0)
    query = text(body.query, "query")
    how = msgspec.structs.replace(common.style(body, call), data=False)
    best = common.top_n(body)
    images: documents.Images = {}
    texts = documents.read(given, "documents", call.max_documents, body.rank_fields, images) if given else []
    kept = [index for index, ranked in enumerate(texts) if index in images or (ranked and not ranked.isspace())]
    seen = {place: images[index] for place, index in enumerate(kept) if index in images}
    request = options.request(body, query, [texts[index] for index in kept], best, images=seen)
    if not kept:
        return Decoded((), lambda _: Answer(ItemsAnswer(data=[], results=[])))
    return Decoded((request,), partial(_encode, given=[given[index] for index in kept], texts=request.documents, kept=kept, how=how))


def matches(found: Any) -> bool:
    """Whether these documents are this dialect's: objects with an id, all of them."""
    return isinstance(found, list) and all(isinstance(item, dict) and "id" in item for item in found)


def _encode(results: Sequence[RerankResult], *, given: list[Any], texts: list[str], kept: list[int], how: common.Style) -> Answer:
    result = results[0]
    raw = result.raw.tolist()
    answer = common.build(result, given, texts, how)
    data = [Similarity(given[item.index]["id"], raw[item.index]) for item in answer.results]
    for place in (*answer.results, *(answer.errors or ())):
        place.index = kept[place.index]
    return Answer(ItemsAnswer(data=data, **{name: getattr(answer, name) for name in _COMMON}))


_COMMON = tuple(name for name in ItemsAnswer.__struct_fields__ if name != "data")
DIALECT = Dialect("items", decode, (ItemsAnswer,))

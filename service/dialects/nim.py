"""NVIDIA NIM: `query` is an object and `passages` are objects; logits come back (docs.nvidia.com, NIM for text reranking).

Served at `/v1/ranking` and under the hosted paths. NIM's own API knows no number of results; hosted ones do, as `top_k` or `top_n`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.dialects import common, options, pictures
from service.dialects.answers import Failure, Usage, failures, numbers, usage
from service.dialects.body import Body
from service.dialects.fields import array, text, wrong
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import Picture, RerankResult


class Ranking(msgspec.Struct, omit_defaults=True):
    """One passage's logit."""

    index: int
    logit: float
    truncated: bool = False


class NimAnswer(msgspec.Struct, kw_only=True):
    """The answer, best first."""

    rankings: list[Ranking]
    usage: Usage
    model: str
    errors: list[Failure] | UnsetType = UNSET


def decode(body: Body, call: Call) -> Decoded:
    """Read a ranking call; raises InvalidRequest, TooLarge."""
    passages = array(body.passages, "passages", call.max_documents)
    images: dict[int, Picture] = {}
    texts = [_text(item, index, images) for index, item in enumerate(passages)]
    return Decoded((options.request(body, text(body.query, "query"), texts, common.top_n(body), "passages[{}]", images),), _encode)


def _text(item: Any, index: int, images: dict[int, Picture]) -> str:
    if not isinstance(item, dict):
        raise wrong(f"passages[{index}]", "an object with text or an image", item)
    if pictures.may_be(item) and (seen := pictures.take(item, f"passages[{index}]", index, images)) is not None:
        return seen
    found = item.get("text")
    if isinstance(found, str):
        return found
    raise wrong(f"passages[{index}].text", "a string", found)


def _encode(results: Sequence[RerankResult]) -> Answer:
    result = results[0]
    raw, cut = numbers(result, True), result.truncated.tolist()
    rankings = [Ranking(index, raw[index], cut[index]) for index in result.order]
    return Answer(NimAnswer(rankings=rankings, usage=usage(result), model=result.model, errors=failures(result)))


DIALECT = Dialect("nim", decode, (NimAnswer,))

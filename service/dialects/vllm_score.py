"""vLLM's `/score`: one text against one or many, or many against as many, under four pairs of names (vllm/entrypoints, score protocol).

Scores come back in input order. Errors are OpenAI's (`errors.py`), for nothing but vLLM's clients calls this path. vLLM's rerank is the
common dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from batching.errors import InvalidRequest
from service.dialects import options, pictures
from service.dialects.answers import Usage, complete, numbers
from service.dialects.body import Body
from service.dialects.documents import several
from service.dialects.fields import check_count, of_object, wrong
from service.dialects.groups import Place, group, illustrate
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import Picture, RerankResult

_NAMES = (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items"))


class ScoreDatum(msgspec.Struct):
    """One pair's score."""

    index: int
    object: str
    score: float


class ScoreUsage(Usage):
    """What vLLM adds to it."""

    prompt_tokens_details: None = None


class ScoreAnswer(msgspec.Struct, kw_only=True):
    """Scores in the order of the pairs."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[ScoreDatum]
    usage: ScoreUsage


def decode(body: Body, call: Call) -> Decoded:
    """Read two sides of pairs; raises InvalidRequest, TooLarge."""
    first, second = next((pair for pair in _NAMES if all(getattr(body, field) is not None for field in pair)), _NAMES[0])
    images: dict[int, Picture] = {}
    (left, asked), (right, named) = _texts(getattr(body, first), first), _texts(getattr(body, second), second, images)
    for index, query in enumerate(left):
        if not query.strip():
            raise InvalidRequest(f"{asked.format(index)}: must not be empty or be only whitespace", first)
    if len(left) not in (1, len(right)):
        raise InvalidRequest(f"{first}: expected 1 or as many as {second} ({len(right)}), got {len(left)}", first)
    check_count(len(right), second, call.max_documents)
    requests, places = group(body, list(zip(left * len(right) if len(left) == 1 else left, right, strict=True)), named)
    return Decoded(illustrate(requests, places, images), partial(_encode, places=places, raw=options.wants_raw(body)))


def _texts(value: Any, field: str, images: dict[int, Picture] | None = None) -> tuple[list[str], str]:
    """One side's texts and what the caller calls each; its images are put into `images` by place, where this side may have any."""
    if value is None:
        raise InvalidRequest(f"{field}: required, a string or an array of strings", field)
    found, named = several(value, field)
    if not isinstance(found, list):
        found, named = [found], field
    if not found:
        raise InvalidRequest(f"{field}: must not be empty", field)
    return [_text(item, named.format(index), index, images) for index, item in enumerate(found)], named


def _text(item: Any, field: str, index: int, images: dict[int, Picture] | None) -> str:
    if isinstance(item, dict):
        if images is not None and pictures.may_be(item) and (seen := pictures.take(item, field, index, images)) is not None:
            return seen
        item, field = of_object(item, field)
    if not isinstance(item, str):
        raise wrong(field, "a string", item)
    return item


def _encode(results: Sequence[RerankResult], *, places: list[Place], raw: bool) -> Answer:
    complete(results)
    values = [numbers(result, raw) for result in results]
    data = [ScoreDatum(number, "score", values[request][index]) for number, (request, index) in enumerate(places)]
    tokens = sum(result.pair_tokens for result in results)
    first = results[0]
    return Answer(ScoreAnswer(id=first.id, created=first.created, model=first.model, data=data, usage=ScoreUsage(tokens, tokens)))


DIALECT = Dialect("vllm_score", decode, (ScoreAnswer,), "openai")

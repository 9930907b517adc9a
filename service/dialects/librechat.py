"""LibreChat's retrieval API: `candidates` with an id, a text and the score that an earlier stage gave them (danny-avila/agents)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from service.dialects import common, options
from service.dialects.answers import Scored, failures, numbers
from service.dialects.body import Body
from service.dialects.fields import array, text, wrong
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult


class CandidatesAnswer(msgspec.Struct):
    """The answer, best first."""

    results: list[Scored]


def decode(body: Body, call: Call) -> Decoded:
    """Read candidates; raises InvalidRequest, TooLarge."""
    items = array(body.candidates, "candidates", call.max_documents)
    texts = [_text(item, f"candidates[{index}]") for index, item in enumerate(items)]
    return Decoded((options.request(body, text(body.query, "query"), texts, common.top_n(body)),), _encode)


def _text(item: Any, field: str) -> str:
    if not isinstance(item, dict):
        raise wrong(field, "an object with text", item)
    found = item.get("text")
    if not isinstance(found, str):
        raise wrong(f"{field}.text", "a string", found)
    return found


def _encode(results: Sequence[RerankResult]) -> Answer:
    result = results[0]
    failures(result)
    values = numbers(result, False)
    return Answer(CandidatesAnswer([Scored(index, values[index]) for index in result.order]))


DIALECT = Dialect("librechat", decode, (CandidatesAnswer,))

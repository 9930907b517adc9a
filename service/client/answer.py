"""What a caller gets: the ranking, with scores in input order and documents best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.client.errors import RerankError

Document = str | Mapping[str, Any]
"""Text, or an object with `text`, or one that is ranked by its fields."""


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One document in its place. `truncated`: it did not fit and was ranked by a part of it."""

    index: int
    score: float
    document: Document
    truncated: bool = False


class RerankResult(msgspec.Struct, frozen=True, kw_only=True):
    """A ranking.

    `scores`: one per document, in input order; NaN where a document could not be scored, which `failed` then explains.
    `ranked_indices` and `results`: best first, at most top_n. `error`: why this is only the incoming order, with on_error="original_order";
    the scores are then 0.0. `tokens` counts the tokens of all pairs.
    """

    scores: list[float]
    ranked_indices: list[int]
    results: list[Ranked]
    model: str = ""
    request_id: str = ""
    tokens: int = 0
    failed: dict[int, str] = {}
    error: RerankError | None = None


def original_order(documents: Sequence[Document], top_n: int | None, error: RerankError | None) -> RerankResult:
    """The documents as they came."""
    kept = list(range(len(documents)))[: top_n or None]
    return RerankResult(
        scores=[0.0] * len(documents),
        ranked_indices=kept,
        results=[Ranked(index=index, score=0.0, document=documents[index]) for index in kept],
        error=error,
    )

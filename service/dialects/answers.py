"""Parts that the answers of several dialects share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from batching.errors import ScoringFailed
from service.schemas import RerankResult, Window

UNIT_DOCUMENTS = 100
"""Documents in one of Cohere's search units, and in one of Pinecone's rerank units."""


class Usage(msgspec.Struct):
    """Real tokens of all pairs; a rerank model completes nothing, which Vercel's client for Together wants to be told."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class Failure(msgspec.Struct):
    """A document that has no score, and why."""

    index: int
    message: str


class Scored(msgspec.Struct, omit_defaults=True):
    """An item of a list that names its number `score`."""

    index: int
    score: float
    document: Any = UNSET
    truncated: bool = False


def usage(result: RerankResult) -> Usage:
    """Count the tokens of one result."""
    return Usage(result.pair_tokens, result.pair_tokens)


def units(documents: int) -> int:
    """Billed units of a call: one per hundred documents, at least one."""
    return max(1, -(-documents // UNIT_DOCUMENTS))


def numbers(result: RerankResult, raw: bool) -> list[float]:
    """The scores that were asked for, in input order."""
    values: list[float] = result.raw.tolist() if raw else result.scores.tolist()
    return values


def failures(result: RerankResult) -> list[Failure] | UnsetType:
    """The documents without a score, for an answer that can name them; raises ScoringFailed if no document has one."""
    if not result.errors:
        return UNSET
    if len(result.errors) == len(result.raw):
        raise ScoringFailed(f"no document could be scored: {next(iter(result.errors.values()))}")
    return [Failure(index, message) for index, message in sorted(result.errors.items())]


def complete(results: Sequence[RerankResult]) -> None:
    """Raise ScoringFailed unless every document has a score: for answers that have no place to say which one has none."""
    for result in results:
        for index, message in result.errors.items():
            raise ScoringFailed(f"document {index} could not be scored: {message}")


def window(result: RerankResult, index: int) -> Window | UnsetType:
    """The best window of a chunked document, if it was chunked."""
    found = result.windows[index] if result.windows else None
    return UNSET if found is None else found

"""Pairs with a query each, grouped into one request per distinct query, so that each query is tokenized or embedded once."""

from __future__ import annotations

from collections.abc import Sequence

from service.dialects import options
from service.dialects.body import Body
from service.schemas import RerankRequest

Place = tuple[int, int]
"""Where a pair's score is found: which result, which document of it."""


def group(body: Body, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[RerankRequest, ...], list[Place]]:
    """Requests for all pairs, and per pair, in order, its place."""
    numbers: dict[str, int] = {}
    documents: list[list[str]] = []
    places = []
    for query, document in pairs:
        number = numbers.setdefault(query, len(documents))
        if number == len(documents):
            documents.append([])
        places.append((number, len(documents[number])))
        documents[number].append(document)
    return tuple(options.request(body, query, documents[number]) for query, number in numbers.items()), places

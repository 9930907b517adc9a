"""Pairs with a query each, grouped into one request per distinct query, so that each query is tokenized or embedded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from service.dialects import options
from service.dialects.body import Body
from service.schemas import Picture, RerankRequest

Place = tuple[int, int]
"""Where a pair's score is found: which result, which document of it."""


def group(body: Body, pairs: Sequence[tuple[str, str]], named: str) -> tuple[tuple[RerankRequest, ...], list[Place]]:
    """Requests for all pairs, and per pair, in order, its place. `named`: what the caller calls the document of pair `{}`."""
    numbers: dict[str, int] = {}
    documents: list[list[str]] = []
    origins: list[list[int]] = []
    places = []
    for origin, (query, document) in enumerate(pairs):
        number = numbers.setdefault(query, len(documents))
        if number == len(documents):
            documents.append([])
            origins.append([])
        places.append((number, len(documents[number])))
        documents[number].append(document)
        origins[number].append(origin)
    requests = (options.request(body, query, documents[number]) for query, number in numbers.items())
    return tuple(msgspec.structs.replace(one, named=named, numbers=found) for one, found in zip(requests, origins, strict=True)), places


def illustrate(requests: tuple[RerankRequest, ...], places: Sequence[Place], images: Mapping[int, Picture]) -> tuple[RerankRequest, ...]:
    """The requests of `group` with the images of some pairs, by the pair's number."""
    if not images:
        return requests
    found: list[dict[int, Picture]] = [{} for _ in requests]
    for pair, picture in images.items():
        number, place = places[pair]
        found[number][place] = picture
    return tuple(msgspec.structs.replace(one, images=own or None) for one, own in zip(requests, found, strict=True))

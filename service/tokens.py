"""Text before it is tokens: about what a request will cost, and which documents stand in it more than once. Pure.

How a family joins a pair is `batching.families.encode`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batching.families.base import Family

BYTES_PER_TOKEN = 4
"""Of UTF-8 text, about: four Latin letters, or a character and a third of Chinese."""
SPECIALS = 8
"""Tokens that a layout adds to a pair, about."""


def estimate(query: str, documents: Sequence[str], family: Family, max_length: int) -> int:
    """Return about how many tokens a request is, none of its pairs over `max_length`: what is reserved before it is tokenized."""
    asked = _bytes(query) // BYTES_PER_TOKEN
    alone = family.unit in {"embedding", "late"}
    each = SPECIALS if alone else asked + SPECIALS
    total = sum(min(max_length, each + _bytes(document) // BYTES_PER_TOKEN) for document in documents)
    return total + min(asked + SPECIALS, max_length) if alone else total


def unrepeat(documents: Sequence[str]) -> tuple[list[str], NDArray[np.intp] | None]:
    """Return every different document once, in order, and for each document its place among them; None where all differ."""
    places: dict[str, int] = {}
    spots = [places.setdefault(document, len(places)) for document in documents]
    return list(places), None if len(places) == len(spots) else np.array(spots, np.intp)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

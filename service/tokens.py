"""Text before it is tokens: about what a request will cost, and which documents stand in it more than once. Pure.

How a family joins a pair is `batching.families.encode`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batching.families.base import Family

CHARACTERS_PER_TOKEN = 4
"""Of Latin text, about. An estimate decides whether a request is refused for its deadline before anything is counted, so it had better be
low than high: text in other scripts has fewer characters per token, and is counted right as soon as it is tokenized."""
SPECIALS = 8
"""Tokens that a layout adds to a pair, about."""


def estimate(query: str, documents: Sequence[str], family: Family, most: int) -> int:
    """Return about how many tokens a request is, each document being at most `most`: what is reserved before it is tokenized."""
    asked = len(query) // CHARACTERS_PER_TOKEN
    alone = family.unit in {"embedding", "late"}
    each = SPECIALS if alone else asked + SPECIALS
    total = sum(min(most, each + len(document) // CHARACTERS_PER_TOKEN) for document in documents)
    return total + min(asked + SPECIALS, most) if alone else total


def unrepeat(documents: Sequence[str]) -> tuple[list[str], NDArray[np.intp] | None]:
    """Return every different document once, in order, and for each document its place among them; None where all differ."""
    places: dict[str, int] = {}
    spots = [places.setdefault(document, len(places)) for document in documents]
    return list(places), None if len(places) == len(spots) else np.array(spots, np.intp)

"""What every client ranks, and what any client must get: the second document first, all of them back, in falling order."""

from __future__ import annotations

from collections.abc import Sequence

QUERY = "How do sea otters sleep?"
DOCUMENTS = [
    "The tide follows the moon.",
    "Sea otters sleep on their backs, wrapped in kelp.",
    "The last train to the airport leaves at noon.",
    "Otters are mammals of rivers and coasts.",
]
BEST = 1
KEY = "any-key"


def check(indices: Sequence[int], scores: Sequence[float], count: int = len(DOCUMENTS), unit: bool = True) -> None:
    """Fail unless `count` different documents came back, the best first, by falling scores, within 0 and 1 if `unit`."""
    assert indices[0] == BEST
    assert len(indices) == len(set(indices)) == len(scores) == count
    assert list(scores) == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] or count == 1
    if unit:
        assert all(0.0 <= score <= 1.0 for score in scores)


def check_texts(texts: Sequence[str], scores: Sequence[float], count: int = len(DOCUMENTS), unit: bool = True) -> None:
    """The same for a client that gives texts back instead of indices."""
    check([DOCUMENTS.index(text) for text in texts], scores, count, unit)

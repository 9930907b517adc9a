"""A batch that is cut up for several threads comes back as if one had done it, and only while nothing else is to be done."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.families.spread import PART_CHARS, Spread, cut


def lengths(texts: list[str]) -> list[list[int]]:
    return [[len(text)] for text in texts]


@given(st.lists(st.integers(0, 3 * PART_CHARS), max_size=40), st.integers(1, 8))
def test_parts_hold_all_texts_in_order(sizes: list[int], most: int) -> None:
    """No more parts than asked for, none empty, nothing lost; none is longer than its share and one text."""
    texts = ["x" * size for size in sizes]
    parts = cut(texts, most)
    assert [text for part in parts for text in part] == texts
    assert len(parts) <= max(1, most)
    assert all(parts)
    whole = sum(sizes)
    count = max(1, min(most, len(texts), whole // PART_CHARS))
    assert all(sum(map(len, part)) <= whole / count + max(sizes) for part in parts)


def test_threads_share_a_batch_while_idle_and_not_otherwise() -> None:
    """Several threads at once, each with a part; with others under way, and for little text, the caller's alone."""
    seen: list[str] = []
    together = threading.Barrier(3, timeout=20)

    def meeting(texts: list[str]) -> list[list[int]]:
        seen.append(threading.current_thread().name)
        together.wait()
        return lengths(texts)

    def alone(texts: list[str]) -> list[list[int]]:
        seen.append(threading.current_thread().name)
        return lengths(texts)

    idle = True
    spread = Spread(3, lambda: idle)
    texts = ["x" * (PART_CHARS + number) for number in range(9)]
    assert spread.map(meeting, texts) == lengths(texts)
    assert len(set(seen)) == 3
    for quiet, given_ in ((False, texts), (True, ["a", "b"])):
        idle = quiet
        seen.clear()
        assert spread.map(alone, given_) == lengths(given_)
        assert seen == [threading.current_thread().name]
    spread.close()


def test_a_part_that_fails_fails_the_whole() -> None:
    """What one thread raises reaches the caller."""

    def fails(texts: list[str]) -> list[list[int]]:
        if "bad" in texts:
            raise TypeError("not text")
        return lengths(texts)

    spread = Spread(2, lambda: True)
    with pytest.raises(TypeError, match="not text"):
        spread.map(fails, ["x" * PART_CHARS, "y" * PART_CHARS, "bad"])
    spread.close()

"""Cutting a request into entries: every sequence once, within the limit, the shared one with each, and scores find their way back."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batching.cut import Cut, cut
from batching.types import Sequences


@st.composite
def requests(draw: st.DrawFn) -> Sequences:
    """Sequences whose tokens say where they come from: sequence i is made of i * 100 + position."""
    shared = draw(st.booleans())
    lengths = draw(st.lists(st.integers(1, 30), min_size=1 + shared, max_size=25))
    return sequences(lengths, shared=shared)


def sequences(lengths: list[int], *, shared: bool = False) -> Sequences:
    ids = np.concatenate([np.arange(length) + 100 * number for number, length in enumerate(lengths)]).astype(np.int32)
    splits = np.arange(len(lengths), dtype=np.int32)
    return Sequences(ids, np.array(lengths, np.int32), splits, shared, len(lengths) - shared)


def rows(part: Sequences) -> list[list[int]]:
    """Each sequence's tokens."""
    return [row.tolist() for row in np.split(part.ids, np.cumsum(part.lengths)[:-1])]


def cost(lengths: list[int], *, padded: bool) -> int:
    return max(lengths) * len(lengths) if padded else sum(lengths)


limits = st.integers(1, 120)


@given(requests(), limits, st.booleans())
def test_every_sequence_is_in_exactly_one_entry(request: Sequences, limit: int, padded: bool) -> None:
    """Scores put back by each cut's places cover the request once, and are those of the sequences that lie there."""
    found = np.full(request.scores, -1)
    for part in cut(request, limit, padded=padded):
        firsts = np.array([row[0] // 100 for row in rows(part.sequences)])[int(part.sequences.shared) :]
        assert (found[part.places] == -1).all()
        found[part.places] = firsts
    assert found.tolist() == list(range(request.shared, len(request.lengths)))


@given(requests(), limits, st.booleans())
def test_sequences_are_whole(request: Sequences, limit: int, padded: bool) -> None:
    """No token is lost, added or moved, and each sequence keeps its split."""
    whole = {row[0]: (row, int(split)) for row, split in zip(rows(request), request.splits, strict=True)}
    for part in cut(request, limit, padded=padded):
        for row, split in zip(rows(part.sequences), part.sequences.splits, strict=True):
            assert whole[row[0]] == (row, int(split))
        assert part.sequences.scores == len(part.sequences.lengths) - part.sequences.shared


@given(requests(), limits, st.booleans())
def test_entries_are_within_the_limit_but_for_a_single_sequence(request: Sequences, limit: int, padded: bool) -> None:
    """An entry over the limit holds one sequence besides the shared one; its cost is what the planner will count."""
    for part in cut(request, limit, padded=padded):
        lengths = part.sequences.lengths.tolist()
        assert part.cost == cost(lengths, padded=padded)
        assert part.cost <= limit or len(lengths) == 1 + request.shared


@given(requests(), limits)
def test_entries_are_not_needlessly_small(request: Sequences, limit: int) -> None:
    """Each entry could not have held the first sequence of the next."""
    parts = cut(request, limit)
    for part, after in itertools.pairwise(parts):
        assert part.cost + int(after.sequences.lengths[int(request.shared)]) > limit


@given(requests(), limits, st.booleans())
def test_the_shared_sequence_goes_with_all(request: Sequences, limit: int, padded: bool) -> None:
    """Where the first sequence belongs to all others, every entry begins with it."""
    for part in cut(request, limit, padded=padded):
        assert part.sequences.shared == request.shared
        if request.shared:
            assert rows(part.sequences)[0] == rows(request)[0]


@given(requests(), limits, st.integers(1, 8), st.booleans())
def test_entries_are_within_the_pairs(request: Sequences, limit: int, most: int, padded: bool) -> None:
    """With a limit of pairs no entry has more, and each score still comes back once."""
    parts = cut(request, limit, max_pairs=most, padded=padded)
    assert max(part.sequences.scores for part in parts) <= most
    found = np.zeros(request.scores, int)
    for part in parts:
        found[part.places] += 1
    assert found.tolist() == [1] * request.scores


@given(requests())
def test_a_request_that_fits_is_one_entry_in_its_own_order(request: Sequences) -> None:
    """No copying, no sorting where nothing is cut."""
    [part] = cut(request, request.tokens)
    assert part == Cut(request, slice(None), request.tokens)


def test_a_listwise_request_is_never_cut() -> None:
    """One sequence with several scores stays one entry, whatever its length."""
    listwise = Sequences(np.arange(50, dtype=np.int32), np.array([50], np.int32), np.zeros(1, np.int32), False, 7)
    [part] = cut(listwise, 10)
    assert part.sequences is listwise
    assert part.cost == 50


def test_entries_hold_sequences_of_like_length() -> None:
    """A large request is sorted by length first, so that padding and waiting within an entry are small."""
    parts = cut(sequences([1, 9, 2, 9, 1, 9]), 10)
    assert [sorted(part.sequences.lengths.tolist()) for part in parts] == [[1, 1, 2], [9], [9], [9]]

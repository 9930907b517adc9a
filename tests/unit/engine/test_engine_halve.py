"""Halving a pack: the halves' scores are the whole's, in order, and halving always comes to an end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batching.budget import NEARLY_FULL, RECOVER_AFTER, Budget
from batching.halve import halves
from batching.types import Pack
from tests.fakes import known_scores


@st.composite
def packs(draw: st.DrawFn) -> Pack:
    """Entries of a few sequences each, some with a shared one."""
    shared = draw(st.lists(st.booleans(), min_size=1, max_size=5))
    counts = [draw(st.integers(1 + one, 6)) for one in shared]
    lengths = np.array(draw(st.lists(st.integers(1, 9), min_size=sum(counts), max_size=sum(counts))), np.int32)
    ids = np.array(draw(st.lists(st.integers(0, 500), min_size=int(lengths.sum()), max_size=int(lengths.sum()))), np.int32)
    scores = np.array(counts, np.int32) - np.array(shared, np.int32)
    return Pack(ids, lengths, np.arange(len(lengths), dtype=np.int32), np.array(counts, np.int32), scores, np.array(shared))


@given(packs())
def test_halves_score_as_the_whole(pack: Pack) -> None:
    """Scores of the two halves, one after the other, are the pack's own, and their splits travel with their sequences."""
    parts = halves(pack)
    if parts is None:
        assert pack.scores == 1
        return
    np.testing.assert_array_equal(np.concatenate([known_scores(part) for part in parts]), known_scores(pack))
    assert [part.scores for part in parts] == [len(known_scores(part)) for part in parts]
    for part in parts:
        assert part.scores >= 1
        assert part.tokens == part.lengths.sum() < pack.tokens
        assert len(part.lengths) == len(part.splits) == part.entry_sequences.sum()


@given(packs(), st.integers(1, 30))
def test_halving_ends(pack: Pack, memory: int) -> None:
    """Halved until it fits, every score is found, but for single sequences that are too long by themselves."""

    def score(part: Pack) -> list[float]:
        if part.tokens <= memory:
            return known_scores(part).tolist()
        parts = halves(part)
        return [float("inf")] if parts is None else score(parts[0]) + score(parts[1])

    found, whole = np.array(score(pack)), known_scores(pack)
    assert len(found) == len(whole)
    np.testing.assert_array_equal(found[np.isfinite(found)], whole[np.isfinite(found)])


def test_a_listwise_entry_is_not_halved() -> None:
    """Its documents are one sequence."""
    one = np.array([9], np.int32)
    assert halves(Pack(np.arange(9, dtype=np.int32), one, np.zeros(1, np.int32), one // 9, one // 3, np.array([False]))) is None


def test_a_middle_near_the_middle() -> None:
    """Entries are cut where tokens are, not where entries are."""
    lengths = np.array([1, 1, 1, 1, 96], np.int32)
    ones = np.ones(5, np.int32)
    first, second = halves(Pack(np.zeros(100, np.int32), lengths, ones, ones, ones, np.zeros(5, bool))) or ()
    assert (first.tokens, second.tokens) == (4, 96)


def test_the_budget_shrinks_at_once_and_recovers_slowly() -> None:
    """Half of what did not fit; back by an eighth for every so many nearly full batches, never over where it began."""
    budget = Budget(4096)
    budget.overflowed(3000)
    assert budget.tokens == 1500
    for _ in range(RECOVER_AFTER - 1):
        budget.held(1400)
    budget.held(100)
    assert budget.tokens == 1500
    budget.held(1400)
    assert budget.tokens == 1687
    for _ in range(100 * RECOVER_AFTER):
        budget.held(budget.tokens)
    assert budget.tokens == 4096
    for _ in range(20):
        budget.overflowed(1)
    assert budget.tokens == 1


def test_a_lone_entry_over_the_budget_says_little_of_batches_within() -> None:
    """However often one comes that the memory can't hold, batches stay as large as they were."""
    budget = Budget(512)
    for _ in range(9):
        budget.overflowed(2000)
    assert budget.tokens == 512


def test_a_budget_that_no_batch_can_nearly_fill_recovers_too() -> None:
    """Entries of 16 tokens and a budget of 22: two don't fit, and one is not three quarters."""
    budget = Budget(44)
    budget.overflowed(44)
    for _ in range(RECOVER_AFTER * NEARLY_FULL - 1):
        budget.held(16)
    assert budget.tokens == 22
    budget.held(16)
    assert budget.tokens == 24

"""The layout of rows: sorted, complete, within its slack, and in groups that are worth their waste."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batching.scoring.onednn.rows import arrange, round_length, round_rows

LENGTHS = st.lists(st.integers(1, 700), min_size=1, max_size=80)


@given(LENGTHS)
def test_every_token_has_one_row(lengths: list[int]) -> None:
    """Following `sources` and `order` gives each of the caller's tokens once, in its own sequence and place."""
    rows = arrange(np.array(lengths, dtype=np.int32))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(length) for length in lengths])
    sources = np.arange(rows.tokens) if rows.sources is None else rows.sources
    assert sorted(sources.tolist()) == list(range(sum(lengths)))
    for number, start, length in zip(rows.order.tolist(), rows.starts, rows.lengths, strict=True):
        assert length == lengths[number]
        mine = sources[start : start + length]
        assert (owner[mine] == number).all()
        assert place[mine].tolist() == list(range(length)) == rows.positions[start : start + length].tolist()
    assert list(rows.lengths) == sorted(lengths)
    assert not rows.positions[rows.tokens :].any()


@given(LENGTHS)
def test_groups_and_runs_cover_every_sequence_once(lengths: list[int]) -> None:
    """Groups hold 1, 2, 4 or 8 neighbours at their longest one's rounded length; runs are exact."""
    rows = arrange(np.array(lengths, dtype=np.int32))
    assert [start for group in reversed(rows.groups) for start in group.starts] == list(rows.starts)
    for group in rows.groups:
        assert len(group.starts) in (1, 2, 4, 8)
        assert group.length == round_length(max(group.lengths))
    assert [run.start + place * run.length for run in rows.runs for place in range(run.count)] == list(rows.starts)
    assert [run.length for run in rows.runs for _ in range(run.count)] == list(rows.lengths)
    assert [run.first for run in rows.runs] == np.cumsum([0, *(run.count for run in rows.runs[:-1])]).tolist()


@given(LENGTHS, st.booleans())
def test_what_is_read_lies_in_its_sequence(lengths: list[int], last: bool) -> None:
    """`read` names the first or the last row of every sequence, and row 0 beyond."""
    rows = arrange(np.array(lengths, dtype=np.int32), last=last)
    ends = np.asarray(rows.starts) + np.asarray(rows.lengths) - 1
    assert rows.read[: len(lengths)].tolist() == (ends.tolist() if last else list(rows.starts))
    assert not rows.read[len(lengths) :].any()


@given(LENGTHS, st.booleans())
def test_exact_rows_are_the_same_without_padding(lengths: list[int], last: bool) -> None:
    """As many rows as tokens, as many to read as sequences, and all else as with padding."""
    given_lengths = np.array(lengths, dtype=np.int32)
    rows, padded = arrange(given_lengths, last=last, exact=True), arrange(given_lengths, last=last)
    assert rows.count == rows.tokens == len(rows.positions) == sum(lengths)
    assert rows.read.tolist() == padded.read[: len(lengths)].tolist()
    assert (rows.starts, rows.lengths, rows.runs) == (padded.starts, padded.lengths, padded.runs)
    assert rows.positions.tolist() == padded.positions[: rows.tokens].tolist()


@given(st.integers(1, 20_000))
def test_little_is_wasted(number: int) -> None:
    """Rounding never loses a row, adds at most 15 rows to few, a quarter to some hundred, 7 % to a thousand or more."""
    for rounded in (round_rows(number), round_length(number)):
        assert number <= rounded <= number + max(15, number // 4)
        assert number < 1000 or rounded <= 1.07 * number


def test_few_shapes_occur() -> None:
    """All batches to 4,096 tokens and all lengths to 512 come to so few shapes that their primitives stay below 256 MiB."""
    counts = {round_rows(tokens) for tokens in range(1, 4097)}
    groups = set()
    for length in range(1, 513):
        for many in (1, 2, 4, 8):
            groups |= {(len(group.starts), group.length) for group in arrange(np.full(many, length, dtype=np.int32)).groups}
    products_per_count, products_per_group, primitive_mib = 5, 2, 0.55
    assert (len(counts) * products_per_count + len(groups) * products_per_group) * primitive_mib < 256

"""How a batch's sequences lie in rows for the packed forward: shortest first, padded behind the last one. Pure numpy.

oneDNN makes and keeps one primitive per shape it meets (half a MiB and up to a millisecond each), so for it shapes are drawn from a small
set: the number of rows and the length of an attention group are rounded up. Rows that a rounded group reads beyond its sequence belong to
a neighbour or to the padding; what they contribute is zeroed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from batching.types import Int32s

_ROW_STEPS = ((128, 16), (512, 32), (2048, 64), (1 << 62, 128))
_LENGTH_STEPS = ((128, 8), (256, 16), (512, 32), (1 << 62, 64))
_WIDEST = ((64, 8), (128, 4), (256, 2), (1 << 62, 1))
_CALL_COST = 2500.0
"""What one more attention group costs, in squared tokens: joining a shorter sequence must waste less."""


@dataclass(frozen=True, slots=True)
class Run:
    """`count` sequences of `length` tokens side by side from row `start`; `first` is the first one's index."""

    first: int
    count: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring sequences computed as if each had `length` tokens; `starts` and `lengths` are their own."""

    length: int
    starts: tuple[int, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """S sequences in `count` rows, T of them tokens. `lengths` and `starts` go by row order, shortest first.

    `order` int64 [S]: the caller's number of each; `sources` int64 [T]: the caller's token in each row, None when nothing moved;
    `positions` int32 [count]: place within the sequence, 0 in the padding.
    """

    tokens: int
    count: int
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    order: NDArray[np.int64]
    sources: NDArray[np.int64] | None
    positions: Int32s
    last: bool = False
    """The row to read of a sequence is its last, not its first."""
    exact: bool = False
    """Numbers of rows are not rounded."""

    @cached_property
    def read(self) -> NDArray[np.int64]:
        """The row to read of every sequence, rounded up in number by repeating row 0 unless `exact`; int64 [>= S]."""
        found = np.zeros(_rows_for(len(self.starts), exact=self.exact), dtype=np.int64)
        found[: len(self.starts)] = self.starts
        if self.last:
            found[: len(self.starts)] += np.asarray(self.lengths) - 1
        return found

    @cached_property
    def spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """`starts` and `lengths` as arrays."""
        return np.asarray(self.starts, dtype=np.int64), np.asarray(self.lengths, dtype=np.int64)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Neighbours of equal length."""
        lengths = np.asarray(self.lengths)
        edges = [0, *(np.flatnonzero(np.diff(lengths)) + 1).tolist(), len(lengths)]
        return tuple(Run(a, b - a, self.starts[a], self.lengths[a]) for a, b in pairwise(edges))

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All sequences in groups of 1, 2, 4 or 8 of about the same length, longest first."""
        found = []
        stop = len(self.lengths)
        while stop:
            length = round_length(self.lengths[stop - 1])
            begin = stop - _width(self.lengths, stop, length)
            found.append(Group(length, self.starts[begin:stop], self.lengths[begin:stop]))
            stop = begin
        return tuple(found)


def round_up(number: int, step: int) -> int:
    """The least multiple of `step` that is not below `number`."""
    return -(-number // step) * step


def round_rows(tokens: int) -> int:
    """Rows to compute for `tokens` tokens: in steps that grow with the batch, so that few shapes occur and few rows are wasted."""
    return round_up(tokens, _by_limit(_ROW_STEPS, tokens))


def round_length(length: int) -> int:
    """The length that an attention group of longest sequence `length` is computed at."""
    return round_up(length, _by_limit(_LENGTH_STEPS, length))


def _rows_for(number: int, *, exact: bool) -> int:
    return number if exact else round_rows(number)


def arrange(lengths: Int32s, *, last: bool = False, exact: bool = False) -> Rows:
    """Lay sequences of `lengths` int32 [S] out; `last` and `exact` as in `Rows`. Raises ValueError when there are none or one is empty."""
    if not len(lengths) or int(lengths.min()) < 1:
        raise ValueError("a batch needs sequences, and every sequence a token")
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order].astype(np.int64)
    ends = np.cumsum(ordered)
    tokens = int(ends[-1])
    starts = ends - ordered
    within = np.arange(tokens, dtype=np.int64) - np.repeat(starts, ordered)
    sources = None
    if np.any(np.diff(order) != 1):
        theirs = np.cumsum(lengths, dtype=np.int64) - lengths
        sources = np.repeat(theirs[order], ordered) + within
    count = _rows_for(tokens, exact=exact)
    positions = np.zeros(count, dtype=np.int32)
    positions[:tokens] = within
    return Rows(
        tokens=tokens,
        count=count,
        lengths=tuple(ordered.tolist()),
        starts=tuple(starts.tolist()),
        order=order,
        sources=sources,
        positions=positions,
        last=last,
        exact=exact,
    )


def _width(lengths: tuple[int, ...], stop: int, length: int) -> int:
    """How many of the sequences before `stop` go together at `length`: as many as cost less than a group of their own would."""
    widest = _by_limit(_WIDEST, length)
    fits = 1
    while fits < min(widest, stop):
        waste = length**2 - round_length(lengths[stop - fits - 1]) ** 2
        if waste > _CALL_COST:
            break
        fits += 1
    return 1 << (fits.bit_length() - 1)


def _by_limit(table: tuple[tuple[int, int], ...], number: int) -> int:
    """The value beside the first limit that `number` does not exceed."""
    return next(value for limit, value in table if number <= limit)

"""How the sequences of a pack lie in one row of tokens: order, positions, runs of equal length, shared prefixes. Pure numpy.

A *place* is a sequence's index in this order. Kernels that read cumulative lengths take the pack's own order; those that batch equal
lengths want the sequences sorted, and results find their way back through `places`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batching.types import Int32s, Pack

NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Run:
    """`count` sequences of `length` tokens side by side from token `start`, all behind the prefix at place `prefix` (or NOWHERE)."""

    start: int
    count: int
    length: int
    prefix: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One row of T tokens holding S sequences.

    `ids`, `positions` int32 [T]; `types` int32 [T] or None; `offsets` int32 [S + 1]; `places` int32: place of every sequence of the pack,
    NOWHERE for those left out; `prefixes` int32 [S]: place of each sequence's prefix or NOWHERE, None when no sequence has one.
    """

    ids: Int32s
    positions: Int32s
    types: Int32s | None
    offsets: Int32s
    places: Int32s
    prefixes: Int32s | None
    runs: tuple[Run, ...]

    @property
    def lengths(self) -> Int32s:
        """Tokens of every sequence, by place; int32 [S]."""
        return np.diff(self.offsets)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, its prefix not counted."""
        return int(self.lengths.max(initial=0))

    @property
    def starts(self) -> Int32s:
        """First token of every sequence, by place."""
        return self.offsets[:-1]

    @property
    def ends(self) -> Int32s:
        """Last token of every sequence, by place."""
        return self.offsets[1:] - 1


@dataclass(frozen=True, slots=True)
class Owners:
    """Which sequence each one leans on: `shared` int32 [S] in pack numbering (or NOWHERE); `scored` int32 [N]: those with scores."""

    shared: Int32s
    scored: Int32s


def spans(starts: Int32s, lengths: Int32s) -> NDArray[np.int64]:
    """Indices of every token of the given spans, one span after the other; int64 [sum of lengths]."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    shift = starts.astype(np.int64) - (ends - lengths)
    return np.repeat(shift, lengths) + np.arange(total, dtype=np.int64)


def owners(pack: Pack) -> Owners:
    """Who owns whom in `pack`: equal shared sequences of several entries become one, so each is computed once per batch."""
    count = len(pack.lengths)
    shared = np.full(count, NOWHERE, dtype=np.int32)
    carries = np.ones(count, dtype=bool)
    begins = np.concatenate([[0], np.cumsum(pack.entry_sequences)]).astype(np.int64)
    token_begins = np.concatenate([[0], np.cumsum(pack.lengths)]).astype(np.int64)
    known: dict[bytes, int] = {}
    for entry in np.flatnonzero(pack.entry_shared):
        first, after = int(begins[entry]), int(begins[entry + 1])
        key = pack.ids[token_begins[first] : token_begins[first + 1]].tobytes()
        shared[first + 1 : after] = known.setdefault(key, first)
        carries[first] = False
    return Owners(shared=shared, scored=np.flatnonzero(carries).astype(np.int32))


def lay_out(pack: Pack, members: Int32s, prefix_of: Int32s | None, *, sort: bool, offset: int, token_types: bool) -> Layout:
    """Lay the sequences `members` of `pack` in one row.

    `prefix_of` int32 [S], in pack numbering, names the sequence that each one continues (NOWHERE: none): its positions start where that one
    ends. `sort` puts equal lengths side by side; `offset` is added to every position.
    """
    count = len(pack.lengths)
    starts = np.concatenate([[0], np.cumsum(pack.lengths)[:-1]]).astype(np.int32)
    prefix_of = np.full(count, NOWHERE, dtype=np.int32) if prefix_of is None else prefix_of
    order = members
    if sort:
        order = members[np.lexsort((pack.lengths[members], prefix_of[members]))]
    lengths = pack.lengths[order].astype(np.int32)
    places = np.full(count, NOWHERE, dtype=np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    owner = prefix_of[order]
    behind = np.where(owner == NOWHERE, 0, pack.lengths[owner]).astype(np.int32)
    prefixes = np.where(owner == NOWHERE, NOWHERE, places[owner]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Layout(
        ids=_ids(pack, starts, order, lengths),
        positions=_positions(offsets, lengths, behind + np.int32(offset)),
        types=_types(lengths, pack.splits[order]) if token_types else None,
        offsets=offsets,
        places=places,
        prefixes=prefixes if (owner != NOWHERE).any() else None,
        runs=_runs(offsets, lengths, prefixes),
    )


def _ids(pack: Pack, starts: Int32s, order: Int32s, lengths: Int32s) -> Int32s:
    """The row's ids; the pack's own array, uncopied, where all sequences keep their order, as they do for CUDA's kernels."""
    if len(order) == len(starts) and (np.diff(order) == 1).all() and pack.ids.dtype == np.int32:
        return pack.ids
    return np.ascontiguousarray(pack.ids[spans(starts[order], lengths)], dtype=np.int32)


def _positions(offsets: Int32s, lengths: Int32s, firsts: Int32s) -> Int32s:
    """Every sequence counted on from its `firsts`."""
    positions = np.repeat((firsts - offsets[:-1]).astype(np.int32), lengths)
    positions += np.arange(len(positions), dtype=np.int32)
    return positions


def _types(lengths: Int32s, splits: Int32s) -> Int32s:
    """0 up to each split and 1 from there; 0 throughout for a split of 0."""
    split = np.where(splits > 0, np.minimum(splits, lengths), lengths)
    counts = np.stack([split, lengths - split], axis=1).ravel()
    return np.repeat(np.tile(np.array([0, 1], dtype=np.int32), len(lengths)), counts)


def fill_up(layout: Layout, tokens: int, offset: int) -> Layout:
    """`layout` with `tokens` more rows that belong to nobody, each a sequence of its own of id 0 at position `offset`."""
    if not tokens:
        return layout
    end = len(layout.ids)
    nobody = np.full(tokens, NOWHERE, dtype=np.int32)
    return replace(
        layout,
        ids=np.append(layout.ids, np.zeros(tokens, dtype=np.int32)),
        positions=np.append(layout.positions, np.full(tokens, offset, dtype=np.int32)),
        types=None if layout.types is None else np.append(layout.types, np.zeros(tokens, dtype=np.int32)),
        offsets=np.append(layout.offsets, np.arange(end + 1, end + tokens + 1, dtype=np.int32)),
        prefixes=None if layout.prefixes is None else np.append(layout.prefixes, nobody),
        runs=(*layout.runs, Run(start=end, count=tokens, length=1, prefix=NOWHERE)),
    )


def _runs(offsets: Int32s, lengths: Int32s, prefixes: Int32s) -> tuple[Run, ...]:
    """Neighbours of equal length and equal prefix, as runs."""
    if not len(lengths):
        return ()
    change = np.flatnonzero((np.diff(lengths) != 0) | (np.diff(prefixes) != 0)) + 1
    firsts = np.concatenate([[0], change])
    counts = np.diff(np.concatenate([firsts, [len(lengths)]]))
    return tuple(
        Run(start=int(offsets[first]), count=int(count), length=int(lengths[first]), prefix=int(prefixes[first]))
        for first, count in zip(firsts, counts, strict=True)
    )

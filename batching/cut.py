"""How a request's sequences are cut into entries. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batching.tiles import Tiles
from batching.types import Int32s, Sequences

ALL = slice(None)
MOST_TILE_BYTES = 64 * 1024 * 1024
"""Of one entry, so that several fit into the shared memory that images get."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One entry's part of a request: its sequences, and which of the request's scores (intp [n]) come back in which order."""

    sequences: Sequences
    places: NDArray[np.intp] | slice
    cost: int
    """Tokens that count against the budget: real ones, or padded ones where the model pads."""


def cut(sequences: Sequences, max_tokens: int, *, max_pairs: int = 0, padded: bool = False) -> list[Cut]:
    """Cut into entries of at most `max_tokens` each, but for a single sequence that alone is longer, and of `max_pairs` (0: no limit).

    A request that is one entry keeps its order; a larger one is sorted by length first, so that an entry's sequences are alike. The
    shared sequence goes with every entry. A listwise request is one entry.
    """
    listwise = sequences.scores != len(sequences.lengths) - sequences.shared
    max_pairs = max_pairs or sequences.scores
    if sequences.tiles is not None:
        return _cut_tiles(sequences, sequences.tiles, max_tokens, max_pairs)
    if listwise or (sequences.tokens <= max_tokens and sequences.scores <= max_pairs and not padded):
        return [Cut(sequences, ALL, _cost(sequences.lengths, padded=True) if padded else sequences.tokens)]
    first = int(sequences.shared)
    head = int(sequences.lengths[0]) if first else 0
    order = np.argsort(sequences.lengths[first:], kind="stable") + first
    cuts = []
    for begin, end in _spans(sequences.lengths[order], head, max_tokens, max_pairs, padded=padded):
        places = order[begin:end]
        part = _part(sequences, np.concatenate(([0], places)) if first else places)
        cuts.append(Cut(part, places - first, _cost(part.lengths, padded=padded)))
    return cuts


def _cut_tiles(sequences: Sequences, tiles: Tiles, max_tokens: int, max_pairs: int) -> list[Cut]:
    """As `cut`, in the order given: a tile costs more than the tokens that stand for it, and an entry holds only so many bytes of them.

    Raises ValueError for a shared sequence: no family has both.
    """
    if sequences.shared:
        raise ValueError("images come without a shared sequence")
    sizes = sequences.lengths + tiles.counts * np.int32(tiles.cost)
    most = max(1, MOST_TILE_BYTES // tiles.pixels.shape[1])
    cuts, begin, size, count = [], 0, 0, 0
    for place, (one, own) in enumerate([*zip(sizes.tolist(), tiles.counts.tolist(), strict=True), (max_tokens, most)]):
        last = place == len(sizes)
        if place > begin and (last or size + one > max_tokens or count + own > most or place - begin >= max_pairs):
            places = np.arange(begin, place)
            cuts.append(Cut(_part(sequences, places), places, size))
            begin, size, count = place, 0, 0
        size, count = size + one, count + own
    return cuts


def _cost(lengths: Int32s, *, padded: bool) -> int:
    return int(lengths.max()) * len(lengths) if padded else int(lengths.sum())


def _spans(lengths: Int32s, head: int, max_tokens: int, max_pairs: int, *, padded: bool) -> list[tuple[int, int]]:
    """Runs [begin, end) of sorted `lengths` within the limits, a shared sequence of `head` tokens included; each of at least one."""
    spans, begin, total = [], 0, head
    for place, length in enumerate(lengths.tolist()):
        grown = max(head, length) * (place - begin + 1 + bool(head)) if padded else total + length
        if place > begin and (grown > max_tokens or place - begin >= max_pairs):
            spans.append((begin, place))
            begin, grown = place, head + length
        total = grown
    spans.append((begin, len(lengths)))
    return spans


def _part(sequences: Sequences, places: NDArray[np.intp]) -> Sequences:
    """The sequences at `places`, gathered end to end."""
    starts = np.cumsum(sequences.lengths) - sequences.lengths
    lengths = sequences.lengths[places]
    shift = starts[places] - (np.cumsum(lengths) - lengths)
    ids = sequences.ids[np.repeat(shift, lengths) + np.arange(int(lengths.sum()))]
    tiles = None if sequences.tiles is None else sequences.tiles.of(places)
    return Sequences(ids, lengths, sequences.splits[places], sequences.shared, len(places) - sequences.shared, tiles)

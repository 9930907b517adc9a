"""A pack cut in two, for a device whose memory does not hold it whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batching.tiles import Tiles
from batching.types import Pack


def halves(pack: Pack) -> tuple[Pack, Pack] | None:
    """Two packs whose scores, one after the other, are the pack's; None where it is a single sequence (or a listwise entry)."""
    if len(pack.entry_sequences) > 1:
        return _by_entries(pack)
    shared = int(pack.entry_shared[0])
    scored = len(pack.lengths) - shared
    if scored < 2 or scored != pack.scores:
        return None
    return _by_sequences(pack, shared, shared + scored // 2)


def _by_entries(pack: Pack) -> tuple[Pack, Pack]:
    """Cut between two entries, near the middle of the tokens."""
    entry_ends = np.cumsum(pack.entry_sequences)
    token_ends = np.cumsum(pack.lengths)[entry_ends - 1]
    cut = int(np.clip(np.searchsorted(token_ends, pack.tokens / 2) + 1, 1, len(entry_ends) - 1))
    sequences, tokens = int(entry_ends[cut - 1]), int(token_ends[cut - 1])
    first, second = _tiles(pack, range(sequences)), _tiles(pack, range(sequences, len(pack.lengths)))
    return (
        Pack(pack.ids[:tokens], pack.lengths[:sequences], pack.splits[:sequences],
             pack.entry_sequences[:cut], pack.entry_scores[:cut], pack.entry_shared[:cut], first),
        Pack(pack.ids[tokens:], pack.lengths[sequences:], pack.splits[sequences:],
             pack.entry_sequences[cut:], pack.entry_scores[cut:], pack.entry_shared[cut:], second),
    )  # fmt: skip


def _by_sequences(pack: Pack, shared: int, middle: int) -> tuple[Pack, Pack]:
    """Cut the only entry before sequence `middle`; its shared sequence goes with both."""
    ends = np.cumsum(pack.lengths)
    head, cut = int(ends[shared - 1]) if shared else 0, int(ends[middle - 1])

    def half(ids: slice, sequences: slice) -> Pack:
        lengths = np.concatenate((pack.lengths[:shared], pack.lengths[sequences]))
        return Pack(
            ids=np.concatenate((pack.ids[:head], pack.ids[ids])),
            lengths=lengths,
            splits=np.concatenate((pack.splits[:shared], pack.splits[sequences])),
            entry_sequences=np.array([len(lengths)], np.int32),
            entry_scores=np.array([len(lengths) - shared], np.int32),
            entry_shared=pack.entry_shared,
            tiles=_tiles(pack, [*range(shared), *range(len(pack.lengths))[sequences]]),
        )

    return half(slice(head, cut), slice(shared, middle)), half(slice(cut, None), slice(middle, None))


def _tiles(pack: Pack, sequences: Sequence[int]) -> Tiles | None:
    return None if pack.tiles is None else pack.tiles.of(np.array(sequences, np.intp))

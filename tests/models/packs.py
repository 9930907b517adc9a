"""Packs for tests: from lists of ids, from the program's own encoder, reordered, split up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batching.types import Float32s, Pack, Scorer, Sequences


def pack_of(
    rows: Sequence[Sequence[int]], *, splits: Sequence[int] | None = None, entries: Sequence[int] | None = None, shared: bool = False
) -> Pack:
    """`rows` as one pack; `entries` counts the sequences of each entry (one entry by default)."""
    entries = [len(rows)] if entries is None else entries
    return Pack(
        ids=np.concatenate([np.asarray(row, np.int32) for row in rows]),
        lengths=np.array([len(row) for row in rows], np.int32),
        splits=np.array([0] * len(rows) if splits is None else splits, np.int32),
        entry_sequences=np.array(entries, np.int32),
        entry_scores=np.array([count - int(shared) for count in entries], np.int32),
        entry_shared=np.array([shared] * len(entries)),
    )


def joined(requests: Sequence[Sequences]) -> Pack:
    """Several requests as one batch, an entry each."""
    return Pack(
        ids=np.concatenate([request.ids for request in requests]),
        lengths=np.concatenate([request.lengths for request in requests]),
        splits=np.concatenate([request.splits for request in requests]),
        entry_sequences=np.array([len(request.lengths) for request in requests], np.int32),
        entry_scores=np.array([request.scores for request in requests], np.int32),
        entry_shared=np.array([request.shared for request in requests]),
    )


def chosen(request: Sequences, documents: Sequence[int]) -> Sequences:
    """The request with only these documents, in this order; the shared sequence stays."""
    first = int(request.shared)
    keep = [*range(first), *(document + first for document in documents)]
    begins = np.concatenate([[0], np.cumsum(request.lengths)])
    return Sequences(
        ids=np.concatenate([request.ids[begins[number] : begins[number + 1]] for number in keep]),
        lengths=request.lengths[keep],
        splits=request.splits[keep],
        shared=request.shared,
        scores=len(documents),
    )


def scores(scorer: Scorer, *requests: Sequences) -> Float32s:
    """Raw scores of the requests in one batch, end to end."""
    return scorer.launch(joined(requests))()

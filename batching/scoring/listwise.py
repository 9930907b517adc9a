"""The listwise reader: documents stand together in a sequence, each is read at its marker and compared with the query's marker.

An entry of several sequences is one request in blocks. As the reference has it (JinaForRanking.rerank), every block's own scores weigh its
query vector, and all documents are compared with the weighted mean of the blocks' query vectors: they are comparable.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from batching.scoring.batch import Batch, Task
from batching.scoring.heads import cosines
from batching.scoring.layout import Layout
from batching.types import Int32s, Pack


class Projector(nn.Module):
    """jina-reranker-v3's two linears without biases, a ReLU between, in float32."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.register_buffer("first", first.float())
        self.register_buffer("second", second.float())

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N, H] to [N, D]."""
        return torch.relu(rows.float() @ self.get_buffer("first").T) @ self.get_buffer("second").T


class ListReader:
    """One score per document marker, in the order of the sequence."""

    read = None

    def __init__(self, projector: nn.Module, *, document: int, query: int) -> None:
        """`document`, `query`: ids of the two markers."""
        self._projector = projector
        self._document = document
        self._query = query

    def task(self, pack: Pack) -> Task:
        """See `Reader`; raises ValueError when an entry's markers are not as many as its scores."""
        if pack.entry_shared.any():
            raise ValueError("a listwise entry is one whole sequence, and shares nothing")
        members = np.arange(len(pack.lengths), dtype=np.int32)
        entries = np.repeat(np.arange(len(pack.entry_sequences)), pack.entry_sequences)
        tokens = np.repeat(np.arange(len(pack.lengths)), pack.lengths)
        asked = np.flatnonzero(pack.ids == self._query)
        found = np.flatnonzero(pack.ids == self._document)
        counted = np.bincount(entries[tokens[found]], minlength=len(pack.entry_scores))
        if not np.array_equal(counted, pack.entry_scores):
            raise ValueError(f"entries hold {counted.tolist()} document markers for {pack.entry_scores.tolist()} scores")
        begins = np.concatenate([[0], np.cumsum(pack.lengths)[:-1]])
        # the last query marker of each sequence; a sequence without one has no documents either
        query_of = np.zeros(len(pack.lengths), dtype=np.int64)
        query_of[tokens[asked]] = asked - begins[tokens[asked]]

        def arrays(layout: Layout) -> dict[str, Int32s]:
            starts = layout.starts[layout.places]
            sequence = tokens[found]
            documents = starts[sequence] + (found - begins[sequence])
            queries = starts[sequence] + query_of[sequence]
            return {"documents": documents.astype(np.int32), "queries": queries.astype(np.int32)}

        blocks = block_sizes(pack, tokens[found])

        def score(hidden: Tensor, batch: Batch) -> Tensor:
            documents, queries = (self._projector(hidden.index_select(0, batch.tensors[name])) for name in ("documents", "queries"))
            return across_blocks(documents, queries, blocks)

        return Task(members=members, prefix_of=None, arrays=arrays, score=score)

    def modules(self) -> list[nn.Module]:
        """See `Reader`."""
        return [self._projector]


def block_sizes(pack: Pack, sequences: NDArray[np.intp]) -> list[list[int]]:
    """Documents of every block that has some, entry by entry; `sequences` [documents]: the sequence of each, in order."""
    counts = np.bincount(sequences, minlength=len(pack.lengths))
    ends = np.cumsum(pack.entry_sequences)
    return [[count for count in counts[begin:end].tolist() if count] for begin, end in zip(ends - pack.entry_sequences, ends, strict=True)]


def across_blocks(documents: Tensor, queries: Tensor, blocks: list[list[int]]) -> Tensor:
    """Scores of `documents` [N, D], each with its block's query vector in `queries` [N, D]; float32 [N]. One block: plain cosines."""
    scores = cosines(documents, queries)
    if all(len(sizes) < 2 for sizes in blocks):
        return scores
    found, first = [], 0
    for sizes in blocks:
        rows = slice(first, first := first + sum(sizes))
        if len(sizes) < 2:
            found.append(scores[rows])
            continue
        weights = torch.stack([part.max() for part in ((1.0 + scores[rows]) / 2.0).split(sizes)])
        own = torch.stack([part[0] for part in queries[rows].float().split(sizes)])
        mean = (weights[:, None] * own).sum(0, keepdim=True) / weights.sum()
        found.append(cosines(documents[rows], mean.expand(sum(sizes), -1)))
    return torch.cat(found)

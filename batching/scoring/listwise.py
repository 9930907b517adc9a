"""The listwise reader: all documents stand in one sequence, each is read at its marker and compared with the query's marker."""

from __future__ import annotations

import numpy as np
import torch
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

        def score(hidden: Tensor, batch: Batch) -> Tensor:
            documents, queries = (self._projector(hidden.index_select(0, batch.tensors[name])) for name in ("documents", "queries"))
            return cosines(documents, queries)

        return Task(members=members, prefix_of=None, arrays=arrays, score=score)

    def modules(self) -> list[nn.Module]:
        """See `Reader`."""
        return [self._projector]

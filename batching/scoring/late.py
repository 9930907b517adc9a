"""The late-interaction reader: every token is a vector, a document's score is the sum over query tokens of its best match (MaxSim)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from batching.scoring.batch import Batch, Task
from batching.scoring.layout import Layout, Owners, owners, spans
from batching.scoring.readers import Queries, QueryCache, look_up, numbers_of
from batching.scoring.segments import veil_arrays
from batching.types import Int32s, Pack


@dataclass(frozen=True, slots=True)
class Comparison:
    """Documents of one query side by side, so that one product serves them all.

    `queries` int32 [Q]: pack numbers; `counts` [Q]: documents of each; `documents` int32 [N]: pack numbers in that order; `order` [N]:
    where each stood among the scores; `lengths` int32 [N]: tokens of each that are compared; `kept` bool: which of their tokens those are.
    """

    queries: Int32s
    counts: NDArray[np.int64]
    documents: Int32s
    order: NDArray[np.int64]
    lengths: Int32s
    kept: NDArray[np.bool_]

    def arrays(self, pack: Pack, layout: Layout) -> dict[str, Int32s]:
        """Rows of the compared tokens, tokens per document, and the way back to the pack's order."""
        starts = layout.starts[layout.places[self.documents]]
        return {
            "document_rows": spans(starts, pack.lengths[self.documents])[self.kept].astype(np.int32),
            "document_lengths": self.lengths,
            "unsort": np.argsort(self.order, kind="stable").astype(np.int32),
        }


def compare(pack: Pack, own: Owners, skip: Int32s) -> Comparison:
    """Who is compared with whom; tokens of documents whose id is in `skip` are not compared."""
    asked = own.shared[own.scored]
    order = np.argsort(asked, kind="stable")
    documents = own.scored[order]
    queries, counts = np.unique(asked, return_counts=True)
    begins = np.concatenate([[0], np.cumsum(pack.lengths)[:-1]]).astype(np.int32)
    lengths = pack.lengths[documents]
    kept = ~np.isin(pack.ids[spans(begins[documents], lengths)], skip)
    edges = np.cumsum(lengths) - lengths
    # a document of nothing else (made up for warming up) is compared whole: there must be something to compare
    kept |= np.repeat(np.add.reduceat(kept, edges, dtype=np.int32) == 0, lengths)
    compared = np.add.reduceat(kept, edges, dtype=np.int32)
    return Comparison(queries, counts, documents, order, compared, kept)


class LateReader:
    """MaxSim in float32 over unit vectors. Queries are encoded once, per batch and across batches, as in `EmbeddingReader`."""

    read = None

    def __init__(self, projection: nn.Module | None, cache: QueryCache, *, skip: Sequence[int] = (), veils: bool = False) -> None:
        """`projection`: from hidden states to token vectors, None where there is none; `skip`: ids of documents' tokens not to compare;
        `veils`: no token attends to what stands behind a query's split."""
        self._projection = projection
        self._cache = cache
        self._skip = np.array(skip, dtype=np.int32)
        self._veils = veils

    def task(self, pack: Pack) -> Task:
        """See `Reader`; every entry must carry its query as the shared sequence."""
        if not pack.entry_shared.all():
            raise ValueError("a late-interaction family needs the query as every entry's shared sequence")
        own = owners(pack)
        comparison = compare(pack, own, self._skip)
        queries = look_up(self._cache, pack, comparison.queries)
        members = np.unique(np.concatenate([own.scored, numbers_of(queries.fresh)])).astype(np.int32)
        return Task(
            members=members,
            prefix_of=None,
            arrays=lambda layout: comparison.arrays(pack, layout) | self._veiled(pack, layout, numbers_of(queries.fresh)),
            score=lambda hidden, batch: self._score(hidden, batch, comparison, queries),
        )

    def _veiled(self, pack: Pack, layout: Layout, queries: Int32s) -> dict[str, Int32s]:
        """Arrays of those `queries` that are filled up with tokens which nobody attends to."""
        split = queries[pack.splits[queries] > 0] if self._veils else queries[:0]
        return veil_arrays(layout, layout.places[split], pack.splits[split])

    def _score(self, hidden: Tensor, batch: Batch, comparison: Comparison, queries: Queries) -> Tensor:
        """Compare query by query, remember the new ones, and go back to the pack's order."""
        states = hidden.float()
        vectors = functional.normalize(states if self._projection is None else self._projection(states), dim=-1)
        rows = vectors.index_select(0, batch.tensors["document_rows"])
        device_lengths = batch.tensors["document_lengths"].long()
        scores, first, edge = [], 0, 0
        for number, count in zip(comparison.queries.tolist(), comparison.counts.tolist(), strict=True):
            query = queries.known.get(number)
            if query is None:
                place = int(batch.layout.places[number])
                query = vectors[int(batch.layout.offsets[place]) : int(batch.layout.offsets[place + 1])]
                self._cache.put(queries.fresh[number], query)
            lengths = comparison.lengths[first : first + count].tolist()
            similar = rows[edge : edge + sum(lengths)] @ query.T
            scores.append(_best(similar, lengths, device_lengths[first : first + count]).sum(-1))
            first, edge = first + count, edge + sum(lengths)
        return torch.cat(scores).index_select(0, batch.tensors["unsort"])

    def modules(self) -> list[nn.Module]:
        """See `Reader`."""
        return [] if self._projection is None else [self._projection]


def _best(similar: Tensor, lengths: list[int], device_lengths: Tensor) -> Tensor:
    """The best row of every document for every query token: `similar` [sum of lengths, q] to [documents, q]."""
    if similar.device.type != "cuda":
        return torch.stack([part.amax(0) for part in similar.split(lengths)])
    # unsafe: skips a check of the lengths that would wait for the device
    return torch.segment_reduce(similar, "max", lengths=device_lengths, axis=0, unsafe=True)

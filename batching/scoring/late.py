"""The late-interaction reader: every token is a vector, a document's score is the sum over query tokens of its best match (MaxSim)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from batching.scoring.batch import Batch, Task
from batching.scoring.layout import Layout, owners, spans
from batching.scoring.readers import QueryCache, look_up, numbers_of
from batching.types import Int32s, Pack


class LateReader:
    """MaxSim in float32 over unit vectors. Queries are encoded once, per batch and across batches, as in `EmbeddingReader`."""

    read = None

    def __init__(self, projection: nn.Module | None, cache: QueryCache, *, skip: Sequence[int] = ()) -> None:
        """`projection`: the linear from hidden states to token vectors, None where there is none; `skip`: ids of documents' tokens that
        are not compared.
        """
        self._projection = projection
        self._cache = cache
        self._skip = np.array(skip, dtype=np.int32)

    def task(self, pack: Pack) -> Task:
        """See `Reader`; every entry must carry its query as the shared sequence."""
        if not pack.entry_shared.all():
            raise ValueError("a late-interaction family needs the query as every entry's shared sequence")
        own = owners(pack)
        asked = own.shared[own.scored]
        # documents of one query side by side: one product for all of them
        order = np.argsort(asked, kind="stable")
        documents, groups = own.scored[order], np.unique(asked)
        counts = np.searchsorted(asked[order], groups, side="right") - np.searchsorted(asked[order], groups)
        queries = look_up(self._cache, pack, groups)
        members = np.unique(np.concatenate([own.scored, numbers_of(queries.fresh)])).astype(np.int32)
        begins = np.concatenate([[0], np.cumsum(pack.lengths)[:-1]]).astype(np.int32)
        kept = ~np.isin(pack.ids[spans(begins[documents], pack.lengths[documents])], self._skip)
        firsts = np.cumsum(pack.lengths[documents]) - pack.lengths[documents]
        tokens = np.add.reduceat(kept, firsts, dtype=np.int32)
        edges = np.concatenate([[0], np.cumsum(np.add.reduceat(tokens, np.cumsum(counts) - counts))])

        def arrays(layout: Layout) -> dict[str, Int32s]:
            starts = layout.starts[layout.places[documents]]
            return {
                "document_rows": spans(starts, pack.lengths[documents])[kept].astype(np.int32),
                "document_lengths": tokens.astype(np.int32),
                "unsort": np.argsort(order, kind="stable").astype(np.int32),
            }

        def score(hidden: Tensor, batch: Batch) -> Tensor:
            layout, vectors = batch.layout, self._vectors(hidden)
            rows = vectors.index_select(0, batch.tensors["document_rows"])
            lengths = batch.tensors["document_lengths"].long()
            scores, first = [], 0
            for group, number in enumerate(groups.tolist()):
                query = queries.known.get(number)
                if query is None:
                    place = int(layout.places[number])
                    query = vectors[int(layout.offsets[place]) : int(layout.offsets[place + 1])]
                    self._cache.put(queries.fresh[number], query)
                part = rows[int(edges[group]) : int(edges[group + 1])]
                scores.append(_max_sim(query, part, lengths[first : first + int(counts[group])]))
                first += int(counts[group])
            return torch.cat(scores).index_select(0, batch.tensors["unsort"])

        return Task(members=members, prefix_of=None, arrays=arrays, score=score)

    def _vectors(self, hidden: Tensor) -> Tensor:
        """Unit vectors of every token, float32 [T, D]."""
        states = hidden.float()
        return functional.normalize(states if self._projection is None else self._projection(states), dim=-1)

    def modules(self) -> list[nn.Module]:
        """See `Reader`."""
        return [] if self._projection is None else [self._projection]


def _max_sim(query: Tensor, rows: Tensor, lengths: Tensor) -> Tensor:
    """MaxSim of one query [q, D] with documents whose token vectors `rows` [sum of lengths, D] stand end to end; float32 [documents]."""
    best = torch.segment_reduce(rows @ query.T, "max", lengths=lengths, axis=0, unsafe=True)
    return best.sum(-1)

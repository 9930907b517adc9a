"""Readers: what a family's unit ("pair", "embedding") asks of a pack and how its hidden states become scores."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from batching.scoring.batch import Batch, RowRead, Task
from batching.scoring.heads import Head, cosines
from batching.scoring.layout import NOWHERE, Layout, owners
from batching.types import Int32s, Pack


class PairReader:
    """One row per scored sequence, one head over all of them. With a causal family the shared sequence is a prefix of the others."""

    def __init__(self, read: RowRead, head: Head, *, causal: bool) -> None:
        self.read = read
        self._head = head
        self._causal = causal

    def task(self, pack: Pack) -> Task:
        """See `Reader`; raises ValueError for a shared sequence that the family can't continue."""
        if pack.entry_shared.any() and not self._causal:
            raise ValueError("a shared prefix needs a causal family")
        own = owners(pack)
        used = np.unique(np.concatenate([own.scored, own.shared[own.shared != NOWHERE]])).astype(np.int32)

        def arrays(layout: Layout) -> dict[str, Int32s]:
            return {"scored": layout.places[own.scored]}

        def score(rows: Tensor, batch: Batch) -> Tensor:
            return self._head(rows.index_select(0, batch.tensors["scored"]))

        return Task(members=used, prefix_of=own.shared, arrays=arrays, score=score)

    def modules(self) -> list[nn.Module]:
        """See `Reader`."""
        return [self._head.module]


class QueryCache:
    """The last few query embeddings by their ids; rows stay on the device."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: OrderedDict[bytes, Tensor] = OrderedDict()

    def get(self, key: bytes) -> Tensor | None:
        """The row of `key`, now the most recently used."""
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: bytes, row: Tensor) -> None:
        """Remember `row`, a copy of its own, and forget the oldest beyond the size."""
        if self._size:
            self._rows[key] = row.clone()
            if len(self._rows) > self._size:
                self._rows.popitem(last=False)

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of one pack: `known` rows from the cache by pack number, `fresh` ones to compute with their keys."""

    known: dict[int, Tensor]
    fresh: dict[int, bytes]


def look_up(cache: QueryCache, pack: Pack, numbers: Int32s) -> Queries:
    """Split the sequences `numbers` of `pack`, its distinct queries, into remembered and new ones."""
    begins = np.concatenate([[0], np.cumsum(pack.lengths)])
    known: dict[int, Tensor] = {}
    fresh: dict[int, bytes] = {}
    for number in numbers.tolist():
        key = pack.ids[begins[number] : begins[number + 1]].tobytes()
        row = cache.get(key)
        if row is None:
            fresh[number] = key
        else:
            known[number] = row
    return Queries(known=known, fresh=fresh)


def numbers_of(queries: Mapping[int, object]) -> Int32s:
    """The pack numbers of some queries, int32."""
    return np.fromiter(queries, np.int32, len(queries))


class EmbeddingReader:
    """Query and documents alone, scored by cosine. Each query is embedded once: per batch by `owners`, across batches by a cache."""

    def __init__(self, read: RowRead, chain: nn.Module | None, cache: QueryCache, *, dot: bool = False) -> None:
        """`chain`: further modules over the pooled row (sentence-transformers' Dense and the like); `dot`: products instead of cosines."""
        self.read = read
        self._chain = chain
        self._cache = cache
        self._dot = dot

    def task(self, pack: Pack) -> Task:
        """See `Reader`; every entry must carry its query as the shared sequence."""
        if not pack.entry_shared.all():
            raise ValueError("an embedding family needs the query as every entry's shared sequence")
        own = owners(pack)
        asked = own.shared[own.scored]
        queries = look_up(self._cache, pack, np.unique(asked))
        members = np.unique(np.concatenate([own.scored, numbers_of(queries.fresh)])).astype(np.int32)

        def arrays(layout: Layout) -> dict[str, Int32s]:
            places = layout.places.copy()
            # cached rows stand behind the computed ones
            for behind, number in enumerate(queries.known):
                places[number] = len(layout.lengths) + behind
            return {"documents": places[own.scored], "queries": places[asked], "fresh": places[numbers_of(queries.fresh)]}

        def score(rows: Tensor, batch: Batch) -> Tensor:
            return self._score(rows, batch, queries)

        return Task(members=members, prefix_of=None, arrays=arrays, score=score)

    def _score(self, rows: Tensor, batch: Batch, queries: Queries) -> Tensor:
        """Embed, remember the new queries, compare."""
        rows = rows if self._chain is None else self._chain(rows)
        fresh = rows.index_select(0, batch.tensors["fresh"])
        for place, key in enumerate(queries.fresh.values()):
            self._cache.put(key, fresh[place])
        if queries.known:
            rows = torch.cat([rows, torch.stack(list(queries.known.values()))])
        documents, asked = (rows.index_select(0, batch.tensors[name]) for name in ("documents", "queries"))
        return (documents * asked).sum(-1) if self._dot else cosines(documents, asked)

    def modules(self) -> list[nn.Module]:
        """See `Reader`."""
        return [] if self._chain is None else [self._chain]

"""Models outside transformers' attention interface (DeBERTa): sequences of near lengths padded together, then put back into one row."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from batching.scoring.batch import Batch, RowRead, module_bytes, read_rows
from batching.scoring.bodies import PADS
from batching.scoring.layout import Layout, spans
from batching.types import Int32s

SLACK = 0.85
"""Sequences share a bucket when the shortest has at least this part of the longest's tokens."""
EQUAL = 1.0
"""The same for bodies that don't mask padding everywhere: it would make scores depend on the company."""


class PaddedForward:
    """A base model called on padded buckets, each at most 1 / SLACK of its real tokens, or just these where padding would be read."""

    backend = "padded"
    padded = True
    warm_up_rows: tuple[int, ...] = ()

    def __init__(self, base: PreTrainedModel) -> None:
        self._base = base
        self._slack = SLACK if base.config.model_type in PADS else EQUAL
        accepted = inspect.signature(base.forward).parameters
        names = {"types": "token_type_ids", "positions": "position_ids"}
        self._fields = {name: field for name, field in names.items() if field in accepted}

    def fill(self, tokens: int) -> int:
        """See `Forward`."""
        return 0

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """See `Forward`: where each padded cell's token comes from, which cells are real, and where each token's cell is."""
        lengths, gather, real, back, width = layout.lengths, [], [], np.empty(len(layout.ids), dtype=np.int32), 0
        for first, after in buckets(lengths, self._slack):
            longest = int(lengths[first:after].max())
            cells = np.arange(longest)[None, :]
            inside = cells < lengths[first:after, None]
            gather.append((layout.starts[first:after, None] + np.where(inside, cells, 0)).ravel())
            real.append(inside.ravel())
            begins = width + longest * np.arange(after - first, dtype=np.int32)
            back[layout.offsets[first] : layout.offsets[after]] = spans(begins, lengths[first:after])
            width += longest * (after - first)
        return {"pad_gather": np.concatenate(gather).astype(np.int32), "pad_real": np.concatenate(real).astype(np.int32), "pad_back": back}

    def hidden(self, batch: Batch) -> Tensor:
        """See `Forward`."""
        tensors, lengths, rows, begin = batch.tensors, batch.layout.lengths, [], 0
        for first, after in buckets(lengths, self._slack):
            shape = (after - first, int(lengths[first:after].max()))
            end = begin + shape[0] * shape[1]
            rows.append(self._bucket(tensors, slice(begin, end), shape).flatten(0, 1))
            begin = end
        return torch.cat(rows).index_select(0, tensors["pad_back"])

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """See `Forward`."""
        return read_rows(self.hidden(batch), batch, read)

    def _bucket(self, tensors: dict[str, Tensor], cells: slice, shape: tuple[int, int]) -> Tensor:
        """One padded call, [sequences, longest, H]."""
        gather = tensors["pad_gather"][cells]
        fields: dict[str, Any] = {
            field: tensors[name][gather].long().view(shape) for name, field in self._fields.items() if name in tensors
        }
        output = self._base(
            input_ids=tensors["ids"][gather].long().view(shape), attention_mask=tensors["pad_real"][cells].long().view(shape), **fields
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def weights_bytes(self) -> int:
        """See `Forward`."""
        return module_bytes(self._base)


def buckets(lengths: Int32s, slack: float) -> list[tuple[int, int]]:
    """Neighbours [first, after) whose lengths lie within `slack` of each other; any order, but a sorted one makes fewest."""
    found: list[tuple[int, int]] = []
    first = 0
    for place in range(1, len(lengths) + 1):
        part = lengths[first : place + 1]
        if place == len(lengths) or part.min() < slack * part.max():
            found.append((first, place))
            first = place
    return found

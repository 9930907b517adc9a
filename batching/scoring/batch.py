"""One batch on its way through the model: the row of tokens on the device, and the two things that act on it, forward and reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from batching.scoring.layout import Layout
from batching.scoring.linears import PrepackedLinear
from batching.scoring.segments import Segments
from batching.types import Int32s, Pack

RowRead = Literal["first", "last", "mean"]
"""One row per sequence: its first token's, its last one's, or the mean of all."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`tensors` are device copies of the host arrays: ids, positions, types (if the model has them), offsets, and the reader's own."""

    layout: Layout
    segments: Segments
    tensors: dict[str, Tensor]


class Forward(Protocol):
    """The model's body. `backend` names it to the operator; `padded`: its cost is padded tokens."""

    backend: str
    padded: bool
    warm_up_rows: tuple[int, ...]
    """Tokens of rows that a start should run several times, so that they are quick later."""

    def fill(self, tokens: int) -> int:
        """How many rows more would suit a row of `tokens`; they belong to nobody."""
        ...

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """Host arrays that `hidden` needs among the batch's tensors, beside those that every batch has."""
        ...

    def hidden(self, batch: Batch) -> Tensor:
        """Final hidden states of every token of the row, [T, H], in the model's number type."""
        ...

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """One row per sequence by place, float32 [S, H]; a forward may leave out what is not read."""
        ...

    def weights_bytes(self) -> int:
        """Bytes of weights held."""
        ...


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, and of weights that were laid out anew."""
    packed = sum(part.nbytes for part in module.modules() if isinstance(part, PrepackedLinear))
    return packed + sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@dataclass(frozen=True, slots=True)
class Task:
    """What a reader wants of one pack: which sequences to run, behind which prefixes, which arrays it needs, and how it scores.

    `arrays` sees the finished layout; `score` gets what the reader reads and the batch, and gives float32 [pack.scores].
    """

    members: Int32s
    prefix_of: Int32s | None
    arrays: Callable[[Layout], dict[str, Int32s]]
    score: Callable[[Tensor, Batch], Tensor]


class Reader(Protocol):
    """Turns hidden states into raw scores for one kind of family. `read`: what it takes, a row per sequence, or None: every token's."""

    @property
    def read(self) -> RowRead | None: ...

    def task(self, pack: Pack) -> Task:
        """Plan `pack`; cheap, on the host."""
        ...

    def modules(self) -> list[nn.Module]:
        """The weights that the reader holds; moved to the device once, before the first pack."""
        ...


def read_rows(hidden: Tensor, batch: Batch, read: RowRead) -> Tensor:
    """The rows of `hidden` [T, H] by place, float32 [S, H]."""
    if read == "mean":
        return _means(hidden, batch)
    offsets = batch.tensors["offsets"]
    rows = offsets[:-1] if read == "first" else offsets[1:] - 1
    return hidden.index_select(0, rows).float()


def _means(hidden: Tensor, batch: Batch) -> Tensor:
    """Mean of every sequence's rows, float32 [S, H]; by runs where the layout is sorted, else by one segmented reduction."""
    if batch.segments.kernel.sorts:
        parts = [
            hidden[run.start : run.start + run.count * run.length].unflatten(0, (run.count, run.length)).mean(1, dtype=torch.float32)
            for run in batch.layout.runs
        ]
        return torch.cat(parts)
    # unsafe: skips a check of the offsets that would wait for the device
    offsets = batch.tensors["offsets"].long()
    return torch.segment_reduce(hidden.float(), "mean", offsets=offsets, axis=0, unsafe=True)

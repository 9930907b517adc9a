"""One batch on its way through the model: the row of tokens on the device, and the two things that act on it, forward and reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from batching.scoring.layout import Layout
from batching.scoring.segments import Segments
from batching.types import Int32s, Pack


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

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """Host arrays that `hidden` needs among the batch's tensors, beside those that every batch has."""
        ...

    def hidden(self, batch: Batch) -> Tensor:
        """Final hidden states of every token of the row, [T, H], in the model's number type."""
        ...

    def weights_bytes(self) -> int:
        """Bytes of weights held."""
        ...


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@dataclass(frozen=True, slots=True)
class Task:
    """What a reader wants of one pack: which sequences to run, behind which prefixes, which arrays it needs, and how it scores.

    `arrays` sees the finished layout; `score` gets [T, H] and the batch and gives float32 [pack.scores].
    """

    members: Int32s
    prefix_of: Int32s | None
    arrays: Callable[[Layout], dict[str, Int32s]]
    score: Callable[[Tensor, Batch], Tensor]


class Reader(Protocol):
    """Turns hidden states into raw scores for one kind of family."""

    def task(self, pack: Pack) -> Task:
        """Plan `pack`; cheap, on the host."""
        ...

    def modules(self) -> list[nn.Module]:
        """The weights that the reader holds; moved to the device once, before the first pack."""
        ...

"""Memory that a forward uses again and again, so that batches of any shape cost no new pages."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Scratch:
    """Named buffers; each grows to the largest size ever asked of it. What was taken is overwritten by the next one to take it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def take(self, name: str, dtype: torch.dtype, *shape: int) -> Tensor:
        """A contiguous tensor of `shape` with undefined contents."""
        size = math.prod(shape)
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, dtype=dtype)
            self._buffers[name, dtype] = buffer
        return buffer[:size].view(shape)

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

"""How a device is driven: arrays up, one piece of work, scores down, and what its failures mean.

The host does the work when it is collected; CUDA gets it at once, in order, and nothing waits before `collect`.

Tokens are copied twice on their way to CUDA: out of the arena, since ids that are checked must not change any more (a cancelled entry's
bytes may be another's at once, and a bad id ends the process), and into one pinned buffer for one transfer. Transfers straight out of a
registered arena would save the second, 20 us for 64,000 tokens, for a launch of some us per entry and ids that nobody checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from batching.types import Collect, Float32s, Int32s, OutOfMemory

Arrays = dict[str, Int32s]
Work = Callable[[dict[str, Tensor]], Tensor]


class Lane(Protocol):
    """A device's way of doing `work(tensors of arrays)`, which gives float32 [N]."""

    def submit(self, arrays: Arrays, work: Work) -> Collect:
        """Start `work` on the device; the returned call waits for its scores. Either may raise OutOfMemory."""
        ...

    def memory_bytes(self) -> int:
        """Memory that this process holds on the device; 0 where the device does not say."""
        ...


class HostLane:
    """The CPU: work runs inside collect, so a worker's look-ahead costs it nothing."""

    def submit(self, arrays: Arrays, work: Work) -> Collect:
        """See `Lane`."""

        def collect() -> Float32s:
            with memory_errors(), torch.inference_mode():
                return to_numpy(work({name: torch.from_numpy(array) for name, array in arrays.items()}))

        return collect

    def memory_bytes(self) -> int:
        """See `Lane`."""
        return 0


class MpsLane:
    """Apple's GPU: torch queues the work itself; reading the scores waits for it."""

    def submit(self, arrays: Arrays, work: Work) -> Collect:
        """See `Lane`."""
        with memory_errors(), torch.inference_mode():
            scores = work({name: torch.from_numpy(array).to("mps") for name, array in arrays.items()})

        def collect() -> Float32s:
            with memory_errors():
                return to_numpy(scores)

        return collect

    def memory_bytes(self) -> int:
        """See `Lane`."""
        return int(torch.mps.driver_allocated_memory())


class CudaLane:
    """CUDA: one pinned buffer up on a side stream, the work on the main one, scores down into pinned memory, an event to wait for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies = torch.cuda.Stream(device)

    def submit(self, arrays: Arrays, work: Work) -> Collect:
        """See `Lane`."""
        with memory_errors(), torch.cuda.device(self._device), torch.inference_mode():
            scores = work(self._upload(arrays))
            landed = torch.empty(scores.shape, dtype=torch.float32, pin_memory=True)
            landed.copy_(scores, non_blocking=True)
            done = torch.cuda.Event()
            done.record()

        def collect() -> Float32s:
            with memory_errors():
                done.synchronize()
            return landed.numpy()

        return collect

    def _upload(self, arrays: Arrays) -> dict[str, Tensor]:
        """All arrays in one transfer; the main stream waits for it, the host does not."""
        sizes = [array.size for array in arrays.values()]
        staging = torch.empty(sum(sizes), dtype=torch.int32, pin_memory=True)
        np.concatenate(list(arrays.values()), out=staging.numpy())
        main = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            there = staging.to(self._device, non_blocking=True)
        main.wait_stream(self._copies)
        there.record_stream(main)
        return dict(zip(arrays, there.split(sizes), strict=True))

    def memory_bytes(self) -> int:
        """See `Lane`."""
        return int(torch.cuda.memory_reserved(self._device))


def to_numpy(scores: Tensor) -> Float32s:
    """Scores on the host, float32."""
    values: Float32s = scores.detach().to("cpu", torch.float32).numpy()
    return values


def lane_for(device: torch.device) -> Lane:
    """The lane of `device`."""
    if device.type == "cuda":
        return CudaLane(device)
    return MpsLane() if device.type == "mps" else HostLane()


OUT_OF_MEMORY_TEXTS = ("out of memory", "not enough memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn a device's own report of exhausted memory into OutOfMemory; every other error passes, a poisoned CUDA context too."""
    try:
        yield
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(str(error).splitlines()[0]) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch has a type for CUDA's case, and texts only for the CPU's, MPS's and cuBLAS's."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)

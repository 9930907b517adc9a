"""The board of one queue: a small shared table that says how its workers are and how far virtual time has come.

    header   256 bytes    magic, version, shape; limits written once; virtual time, written under the claim lock
    slots    1,024 each   one per worker

Each field of a slot has one writer: the supervisor writes `state` while no process holds the slot, and `restarts`, `crash_loops` and
`reason` always; everything else is the worker's. Counters go on from where the slot's last process left them, so that they never run
backwards. How a slot is read: `batching/worker_view.py`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batching.errors import LayoutMismatch
from batching.files import create, let_go, map_whole
from batching.worker_view import WorkerState, WorkerView, view_of

MAGIC = b"rerankdB"
VERSION = 4

BATCH_TOKENS_BOUNDS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
FORWARD_SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

CURVE_POINTS = 16
"""Batch sizes of a worker's measured curve that a slot has room for."""

HEADER = np.dtype(
    {
        "names": ["magic", "version", "workers", "owners", "limit_tokens", "padded", "max_pairs", "made_at", "virtual_time"],
        "formats": ["S8", "<u4", "<u4", "<u4", "<i8", "<u4", "<u4", "<f8", "<f8"],
        "offsets": [0, 8, 12, 16, 24, 32, 36, 40, 64],
        "itemsize": 256,
    }
)

SLOT = np.dtype(
    [
        ("idle", "<u4"),  # these two first, so that their places are known
        ("state", "<u4"),
        ("pid", "<u4"),
        ("budget_tokens", "<u4"),
        ("heartbeat", "<f8"),
        ("forward_started", "<f8"),
        ("forward_ended", "<f8"),
        ("busy_s", "<f8"),
        ("forward_sum_s", "<f8"),
        ("batches", "<u8"),
        ("entries", "<u8"),
        ("pairs", "<u8"),
        ("tokens", "<u8"),
        ("padded_tokens", "<u8"),
        ("saved_tokens", "<u8"),
        ("out_of_memory", "<u8"),
        ("nan_scores", "<u8"),
        ("failures", "<u8"),
        ("memory_bytes", "<u8"),
        ("restarts", "<u8"),
        ("batch_tokens_buckets", "<u8", (len(BATCH_TOKENS_BOUNDS) + 1,)),
        ("forward_buckets", "<u8", (len(FORWARD_SECONDS_BOUNDS) + 1,)),
        ("device", "S32"),
        ("dtype", "S16"),
        ("backend", "S64"),
        ("reason", "S256"),
        ("curve", [("tokens", "<u4"), ("seconds", "<f4")], (CURVE_POINTS,)),
        ("device_free_bytes", "<u8"),
        ("device_total_bytes", "<u8"),
        ("crash_loops", "<u8"),  # the supervisor
        ("unused", "V144"),
    ]
)
COUNTERS = struct.Struct("<dd6Q")
"""What a worker adds to after every batch: `busy_s` up to `saved_tokens`, in their order."""
COUNTERS_AT = 40
"""Where in a slot they lie."""
STATE_AT = 4
"""Where in a slot its state lies; a state fits one byte."""


@dataclass(frozen=True, slots=True)
class BoardShape:
    """What is fixed when a queue is made."""

    workers: int
    owners: int
    """HTTP processes, and so arenas."""
    limit_tokens: int
    max_pairs: int = 0
    """Pairs of one batch, and so of one entry; 0: no limit."""


class Board:
    """A mapping of the board's file; anyone may read, writers keep to their own fields."""

    def __init__(self, path: Path) -> None:
        self._map = map_whole(path, HEADER.itemsize)
        self.header: NDArray[np.void] = np.frombuffer(self._map, HEADER, 1)
        if bytes(self.header["magic"][0]) != MAGIC or int(self.header["version"][0]) != VERSION:
            raise LayoutMismatch(f"{path} was made by another version of rerankd")
        workers = int(self.header["workers"][0])
        if len(self._map) != HEADER.itemsize + workers * SLOT.itemsize:
            raise LayoutMismatch(f"{path} has {len(self._map)} bytes, which is not the size for {workers} workers")
        self.slots: NDArray[np.void] = np.frombuffer(self._map, SLOT, workers, HEADER.itemsize)
        self._virtual_time = memoryview(self._map)[64:72].cast("d")  # plain reads of shared numbers: a tenth of NumPy's cost
        self._idle_at = [HEADER.itemsize + slot * SLOT.itemsize for slot in range(workers)]
        owners, limit_tokens, max_pairs = (int(self.header[name][0]) for name in ("owners", "limit_tokens", "max_pairs"))
        self.shape = BoardShape(workers, owners, limit_tokens, max_pairs)

    @staticmethod
    def make(path: Path, shape: BoardShape) -> None:
        """Create the file, all slots empty. Raises StartError when there is no room."""
        create(path, HEADER.itemsize + shape.workers * SLOT.itemsize)
        header = np.zeros(1, HEADER)
        header["version"], header["workers"], header["owners"] = VERSION, shape.workers, shape.owners
        header["limit_tokens"], header["max_pairs"] = shape.limit_tokens, shape.max_pairs
        header["made_at"] = time.monotonic()
        header["magic"] = MAGIC
        with path.open("r+b") as file:
            file.write(header.tobytes())

    @property
    def padded(self) -> bool:
        """Whether the model pads, so that entries cost padded tokens; said by the first worker that has loaded it."""
        return bool(self.header["padded"][0])

    @padded.setter
    def padded(self, value: bool) -> None:
        self.header["padded"][0] = value

    @property
    def virtual_time(self) -> float:
        """How much fair service the waiting requests have had; see the planner."""
        return self._virtual_time[0]

    @virtual_time.setter
    def virtual_time(self, value: float) -> None:
        self._virtual_time[0] = value

    def counters_of(self, slot: int) -> tuple[float, ...]:
        """A slot's COUNTERS."""
        return COUNTERS.unpack_from(self._map, self._idle_at[slot] + COUNTERS_AT)

    def set_counters(self, slot: int, counters: Sequence[float]) -> None:
        """Replace a slot's COUNTERS; its worker's alone to do."""
        COUNTERS.pack_into(self._map, self._idle_at[slot] + COUNTERS_AT, *counters)

    def idle_workers(self) -> list[int]:
        """Slots whose worker sleeps for want of work."""
        return [slot for slot, at in enumerate(self._idle_at) if self._map[at]]

    def any_ready(self) -> bool:
        """Whether any worker is ready."""
        return any(self._map[at + STATE_AT] == int(WorkerState.READY) for at in self._idle_at)

    def budget_tokens(self) -> int:
        """The smallest token budget among ready workers; 0 when none is ready."""
        budgets = self.slots["budget_tokens"][self.slots["state"] == int(WorkerState.READY)]
        return int(budgets.min()) if budgets.size else 0

    def counters(self) -> tuple[int, float, int]:
        """Tokens scored so far, seconds spent scoring them, and in how many batches, over all workers."""
        return int(self.slots["tokens"].sum()), float(self.slots["busy_s"].sum()), int(self.slots["batches"].sum())

    def workers(self, now: float | None = None) -> list[WorkerView]:
        """A view of every slot."""
        now = time.monotonic() if now is None else now
        return [view_of(index, slot, now) for index, slot in enumerate(self.slots)]

    def close(self) -> None:
        """Let go of the mapping; views still held elsewhere keep it alive until they go."""
        self._virtual_time.release()
        del self.header, self.slots
        let_go(self._map)

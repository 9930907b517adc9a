"""The board of one queue: a small shared table that says how its workers are and how far virtual time has come.

    header   256 bytes    magic, version, shape; limits written once; virtual time, written under the claim lock
    slots    1,024 each   one per worker

Each field of a slot has one writer: the supervisor writes `state` while no process holds the slot, and `restarts` and `reason` always;
everything else is the worker's. Counters go on from where the slot's last process left them, so that they never run backwards.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from batching.calibrate import Point
from batching.errors import LayoutMismatch
from batching.files import create, map_whole

MAGIC = b"rerankdB"
VERSION = 3

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
        ("unused", "V152"),
    ]
)
COUNTERS = struct.Struct("<dd6Q")
"""What a worker adds to after every batch: `busy_s` up to `saved_tokens`, in their order."""
COUNTERS_AT = 40
"""Where in a slot they lie."""
STATE_AT = 4
"""Where in a slot its state lies; a state fits one byte."""


class WorkerState(IntEnum):
    """How a worker is, as the supervisor and the worker itself say it."""

    EMPTY = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    FAILED = 4
    """Not restarted any more; `reason` says why."""


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, as read from the board. Times in seconds; ages count from now; counters never decrease."""

    slot: int
    state: str
    pid: int
    device: str
    dtype: str
    backend: str
    reason: str
    heartbeat_age_s: float
    forward_age_s: float
    """Since the last forward that succeeded; infinite before the first."""
    forward_running_s: float
    """How long the forward under way has taken; 0 when none is."""
    idle: bool
    budget_tokens: int
    busy_s: float
    batches: int
    entries: int
    pairs: int
    tokens: int
    padded_tokens: int
    saved_tokens: int
    out_of_memory: int
    nan_scores: int
    failures: int
    restarts: int
    memory_bytes: int
    device_free_bytes: int = 0
    """Memory of the worker's device that anybody may still have; of the machine, or its control group, on a CPU."""
    device_total_bytes: int = 0
    """0 until it was looked at, and where the device does not say."""
    batch_tokens_buckets: list[int]
    """Batches of at most each of BATCH_TOKENS_BOUNDS tokens, then all of them: cumulative."""
    forward_seconds_buckets: list[int]
    """Likewise for FORWARD_SECONDS_BOUNDS."""
    forward_seconds_sum: float
    curve: list[Point] = []
    """What its batches were measured to take when it started; empty where the budget was given."""

    def ready(self, fresh_s: float) -> bool:
        """Warmed up, and heard of within `fresh_s`."""
        return self.state == "ready" and self.heartbeat_age_s <= fresh_s


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

    def counters(self) -> tuple[int, float]:
        """Tokens scored so far and seconds spent scoring them, over all workers."""
        return int(self.slots["tokens"].sum()), float(self.slots["busy_s"].sum())

    def workers(self, now: float | None = None) -> list[WorkerView]:
        """A view of every slot."""
        now = time.monotonic() if now is None else now
        return [_view(index, slot, now) for index, slot in enumerate(self.slots)]

    def close(self) -> None:
        """Let go of the mapping."""
        self._virtual_time.release()
        del self.header, self.slots
        try:
            self._map.close()
        except BufferError:  # somebody still holds a view; the mapping goes with it
            return


def _view(index: int, slot: np.void, now: float) -> WorkerView:
    def text(name: str) -> str:
        return bytes(slot[name]).rstrip(b"\0").decode("utf-8", "replace")

    def counts(name: str) -> list[int]:
        return [int(count) for count in np.cumsum(slot[name])]

    started, ended = float(slot["forward_started"]), float(slot["forward_ended"])
    state = int(slot["state"])
    names = (
        "budget_tokens",
        "batches",
        "entries",
        "pairs",
        "tokens",
        "padded_tokens",
        "saved_tokens",
        "out_of_memory",
        "nan_scores",
        "failures",
        "restarts",
        "memory_bytes",
        "device_free_bytes",
        "device_total_bytes",
        "pid",
    )
    return WorkerView(
        slot=index,
        state=WorkerState(min(state, WorkerState.FAILED)).name.lower(),
        device=text("device"),
        dtype=text("dtype"),
        backend=text("backend"),
        reason=text("reason"),
        heartbeat_age_s=max(0.0, now - float(slot["heartbeat"])) if slot["heartbeat"] else float("inf"),
        forward_age_s=max(0.0, now - ended) if ended else float("inf"),
        forward_running_s=max(0.0, now - started) if started else 0.0,
        idle=bool(slot["idle"]),
        busy_s=float(slot["busy_s"]),
        batch_tokens_buckets=counts("batch_tokens_buckets"),
        forward_seconds_buckets=counts("forward_buckets"),
        forward_seconds_sum=float(slot["forward_sum_s"]),
        curve=[Point(int(tokens), float(seconds)) for tokens, seconds in slot["curve"] if tokens and seconds > 0],
        **{name: int(slot[name]) for name in names},
    )

"""A worker as everybody else sees it: the nouns, and how a slot of the board (`batching/board.py`) is read."""

from __future__ import annotations

from enum import IntEnum

import msgspec
import numpy as np

from batching.calibrate import Point


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
    crash_loops: int = 0
    """Times it was given up, for good or for a while, after too many crashes in a row."""
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


def view_of(index: int, slot: np.void, now: float) -> WorkerView:
    """What slot `index` of a board says; `now` in monotonic seconds."""

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
        "crash_loops",
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

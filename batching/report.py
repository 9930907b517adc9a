"""What a worker says of itself on the board. The only writer of its slot's fields."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from batching.board import BATCH_TOKENS_BOUNDS, CURVE_POINTS, FORWARD_SECONDS_BOUNDS, Board
from batching.calibrate import Point
from batching.lease import Lease
from batching.memory import Memory
from batching.types import Float32s, LoadedScorer, Pack
from batching.worker_view import WorkerState


class Report:
    """Writes to slot `slot` of a board; counters go on from what lies there."""

    def __init__(self, board: Board, slot: int) -> None:
        self._board, self._slots, self._slot = board, board.slots, slot

    def _set(self, name: str, value: object) -> None:
        self._slots[name][self._slot] = value

    def _add(self, name: str, value: float) -> None:
        self._slots[name][self._slot] += value

    def starting(self) -> None:
        """The process is there; nothing is loaded yet."""
        self._set("pid", os.getpid())
        self._set("idle", 0)
        self._set("forward_started", 0.0)
        self._set("state", WorkerState.STARTING)
        self.beat()

    def reason(self, text: str) -> None:
        """Why this worker can't be."""
        self._set("reason", text.encode()[:256])

    def ready(self, scorer: LoadedScorer, budget_tokens: int) -> None:
        """Loaded and warmed up: a forward has succeeded."""
        self._set("device", scorer.device.encode())
        self._set("dtype", scorer.dtype.encode())
        self._set("backend", scorer.backend.encode())
        self._set("memory_bytes", scorer.memory_bytes())
        self._board.padded = scorer.padded
        self.budget(budget_tokens)
        self.curve(getattr(scorer, "curve", ()))  # a scorer that measured nothing has none
        self._set("forward_ended", time.monotonic())
        self.beat()
        self._set("state", WorkerState.READY)

    def memory(self, held_bytes: int, device: Memory) -> None:
        """What the worker holds on its device, and how that stands."""
        self._set("memory_bytes", held_bytes)
        self._set("device_total_bytes", device.total)
        self._set("device_free_bytes", device.free)

    def draining(self) -> None:
        """Finishing what is leased, taking nothing new."""
        self._set("state", WorkerState.DRAINING)

    def gone(self) -> None:
        """Stopped as told."""
        self._set("state", WorkerState.EMPTY)

    def beat(self) -> None:
        """Alive now."""
        self._set("heartbeat", time.monotonic())

    def idle(self, idle: bool) -> None:
        """Whether a ring is worth while."""
        self._set("idle", int(idle))

    def budget(self, tokens: int) -> None:
        """The token budget in force."""
        self._set("budget_tokens", tokens)

    def curve(self, points: Sequence[Point]) -> None:
        """What batches were measured to take at start; of more points than there is room for, the largest."""
        kept = [(point.tokens, point.seconds) for point in points[-CURVE_POINTS:]]
        self._set("curve", np.array(kept + [(0, 0.0)] * (CURVE_POINTS - len(kept)), self._slots.dtype["curve"].base))

    def forward_begins(self, began: float) -> None:
        """When the oldest batch on the device went there; 0 when none is there."""
        self._set("forward_started", began)

    def forward_lives(self) -> None:
        """A forward succeeded that scored nothing."""
        self._set("forward_ended", time.monotonic())

    def forward_age_s(self) -> float:
        """Since the last forward that succeeded."""
        return time.monotonic() - float(self._slots["forward_ended"][self._slot])

    def forward_ends(self, lease: Lease, pack: Pack, scores: Float32s, forward_s: float) -> None:
        """A batch came back."""
        self._set("forward_ended", time.monotonic())
        batch = (forward_s, forward_s, 1, lease.entries, len(scores), pack.tokens, lease.cost, pack.saved_tokens)
        counters = self._board.counters_of(self._slot)
        self._board.set_counters(self._slot, [old + new for old, new in zip(counters, batch, strict=True)])
        if not np.isfinite(scores).all():
            self._add("nan_scores", int((~np.isfinite(scores)).sum()))
        self._slots["batch_tokens_buckets"][self._slot][bisect_left(BATCH_TOKENS_BOUNDS, pack.tokens)] += 1
        self._slots["forward_buckets"][self._slot][bisect_left(FORWARD_SECONDS_BOUNDS, forward_s)] += 1

    def out_of_memory(self, budget_tokens: int) -> None:
        """The device's memory did not hold a batch; the budget is now this."""
        self._add("out_of_memory", 1)
        self.budget(budget_tokens)

    def failure(self) -> None:
        """A batch failed with an exception."""
        self._add("failures", 1)

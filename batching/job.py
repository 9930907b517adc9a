"""A request while it is scored, as the HTTP process that asked keeps it: its answer so far, and what every end of an entry means to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from batching.errors import Expired, RerankdError, ScoringFailed, WorkerLost
from batching.owner import Ended, Stay
from batching.states import Failure, State
from batching.types import Float32s


@dataclass(slots=True)
class Scored:
    """The answer to a request: `raw` float32 [n] in the order asked; times in seconds, those of its slowest entry."""

    raw: Float32s
    queue_s: float = 0.0
    forward_s: float = 0.0
    entries: int = 0
    batch_tokens: int = 0
    stays: list[Stay] = field(default_factory=list)
    """Of every entry, in the order in which they ended."""


class Job:
    """A request under way: its answer so far, and where each open entry's scores belong."""

    __slots__ = ("deadline", "future", "places", "scored", "unput")

    def __init__(self, scores: int, deadline: float, future: asyncio.Future[None]) -> None:
        self.scored = Scored(np.empty(scores, np.float32))
        self.deadline, self.future = deadline, future
        self.places: dict[int, NDArray[np.intp] | slice] = {}
        self.unput = 0

    def fail(self, error: RerankdError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def take(self, ended: Ended) -> None:
        """Note how one entry ended; the future is done when all were scored or one was not."""
        places, scored = self.places.pop(ended.row), self.scored
        if ended.scores is None:
            self.fail(failure_of(ended))
            return
        try:
            scored.raw[places] = ended.scores
        except ValueError:  # other requests' answers are collected with this one
            self.fail(ScoringFailed(f"the worker gave {len(ended.scores)} scores, which is not as many as were asked for"))
            return
        scored.queue_s = max(scored.queue_s, ended.queue_s)
        scored.forward_s = max(scored.forward_s, ended.forward_s)
        scored.batch_tokens = max(scored.batch_tokens, ended.batch_tokens)
        scored.stays.append(ended.stay)
        scored.entries += 1
        if not self.places and not self.unput and not self.future.done():
            self.future.set_result(None)


def failure_of(ended: Ended) -> RerankdError:
    if ended.state is State.CANCELLED:
        return Expired("the deadline passed before the work was begun")
    if ended.failure == Failure.WORKER_LOST:
        return WorkerLost("scoring this request's documents crashed the worker twice")
    if ended.failure == Failure.OUT_OF_MEMORY:
        return ScoringFailed("the device's memory does not hold this request's longest document")
    return ScoringFailed("the worker could not score this request's documents")

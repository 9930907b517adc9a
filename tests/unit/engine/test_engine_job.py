"""A request's answer is put together from its entries; what does not fit fails it, and nobody beside it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from batching.errors import ScoringFailed
from batching.job import Job
from batching.owner import Ended, Stay
from batching.states import State

STAY = Stay(*range(len(Stay._fields)))


def ended(row: int, scores: list[float]) -> Ended:
    return Ended(row, State.DONE, np.array(scores, np.float32), STAY, 0)


def job_of(places: dict[int, list[int]]) -> Job:
    job = Job(sum(map(len, places.values())), 0.0, asyncio.get_running_loop().create_future())
    job.places = {row: np.array(where) for row, where in places.items()}
    return job


def test_entries_end_in_any_order() -> None:
    """Scores land where they belong, and the last entry ends the wait."""

    async def run() -> None:
        job = job_of({7: [2, 0], 4: [1]})
        job.take(ended(4, [0.5]))
        assert not job.future.done()
        job.take(ended(7, [0.1, 0.9]))
        await job.future
        assert job.scored.raw.tolist() == pytest.approx([0.9, 0.5, 0.1])

    asyncio.run(run())


def test_scores_of_another_number_fail_their_request() -> None:
    """They are told as a failure, and raise nothing where other requests' answers are collected."""

    async def run() -> None:
        job = job_of({1: [0, 1]})
        job.take(ended(1, [0.5, 0.5, 0.5]))
        with pytest.raises(ScoringFailed, match="gave 3 scores"):
            await job.future

    asyncio.run(run())

"""The two ways to load a server: closed loop (N callers, each waits for its answer) and open loop (arrivals that wait for nobody).

In the open loop a latency runs from the moment the request was meant to arrive, so that a stalled server cannot hide the requests
that it kept from being sent (coordinated omission).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

from service.load.connection import Connection, Target
from service.load.http11 import ResponseError
from service.load.shapes import Shape, reported_tokens, results_in
from service.load.stats import Answer, poisson_arrivals


@dataclass(frozen=True, slots=True)
class Payload:
    """One prepared request: its bytes, its pairs, its tokens (0: take what the answer's usage states)."""

    bytes: bytes
    pairs: int
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a run ends. `seconds` bounds the sending, `requests` the count; `timeout_s` bounds one request, connecting included."""

    seconds: float
    requests: int | None = None
    timeout_s: float = 60.0
    connections: int = 1024
    pause_after_error_s: float = 0.05


class Generator:
    """Sends prepared payloads, round and round, and collects what came of each."""

    def __init__(self, target: Target, payloads: Sequence[Payload], shape: Shape, bounds: Bounds, *, check: bool = True) -> None:
        self._target, self._payloads, self._shape, self._bounds, self._check = target, payloads, shape, bounds, check
        self._numbers = itertools.count()
        self._started = 0.0
        self.answers: list[Answer] = []

    async def closed(self, callers: int) -> float:
        """Run `callers` loops until the bounds; return the seconds until the last answer."""
        self._started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(self._caller())
        return time.perf_counter() - self._started

    async def open(self, rate: float, seed: int) -> float:
        """Send at Poisson arrivals of `rate` requests a second until the bounds; return the seconds until the last answer."""
        self._started = time.perf_counter()
        idle: list[Connection] = []
        room = asyncio.Semaphore(self._bounds.connections)
        async with asyncio.TaskGroup() as tasks:
            for due_s in poisson_arrivals(rate, seed):
                if due_s > self._bounds.seconds or (number := self._next()) is None:
                    break
                await asyncio.sleep(max(due_s - self._now(), 0))
                tasks.create_task(self._arrival(number, due_s, idle, room))
        for connection in idle:
            connection.close()
        return time.perf_counter() - self._started

    def _now(self) -> float:
        return time.perf_counter() - self._started

    def _next(self) -> int | None:
        number = next(self._numbers)
        over = self._bounds.requests is not None and number >= self._bounds.requests
        return None if over else number

    async def _caller(self) -> None:
        connection: Connection | None = None
        while self._now() < self._bounds.seconds and (number := self._next()) is not None:
            connection, answer = await self._exchange(connection, number, self._now())
            self.answers.append(answer)
            if answer.status != 200:
                await asyncio.sleep(self._bounds.pause_after_error_s)
        if connection is not None:
            connection.close()

    async def _arrival(self, number: int, due_s: float, idle: list[Connection], room: asyncio.Semaphore) -> None:
        async with room:
            connection, answer = await self._exchange(idle.pop() if idle else None, number, due_s)
        self.answers.append(answer)
        if connection is not None:
            idle.append(connection)

    async def _exchange(self, connection: Connection | None, number: int, due_s: float) -> tuple[Connection | None, Answer]:
        payload = self._payloads[number % len(self._payloads)]
        try:
            async with asyncio.timeout(self._bounds.timeout_s):
                if connection is None or not connection.usable:
                    connection = await Connection.open(self._target)
                response = await connection.send(payload.bytes)
        except (OSError, ResponseError) as error:  # TimeoutError is an OSError
            if connection is not None:
                connection.close()
            return None, Answer(0, self._now() - due_s, self._now(), payload.pairs, 0, type(error).__name__)
        status, reason = response.status, ""
        if status != 200:
            reason = f"{status} {response.body[:120].decode(errors='replace')}"
        elif self._check and results_in(self._shape, response.body) != payload.pairs:
            status, reason = 0, "an answer without a result for every document"
        tokens = payload.tokens or reported_tokens(response.body)
        return connection, Answer(status, self._now() - due_s, self._now(), payload.pairs, tokens, reason)

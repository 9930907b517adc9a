"""A queue with real worker processes, watched from the test's event loop as the supervisor watches them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import numpy as np

import tests
from batching.client import QueueClient
from batching.job import Scored
from batching.lifeline import Lifeline
from batching.pool import Pool, WorkerSpec
from batching.queue import Queue
from batching.queue_files import make_queue, queue_shape
from batching.restart import Policy
from batching.states import LEASED, WAITING
from batching.types import Sequences
from batching.worker_view import WorkerView
from tests.fakes import POISON, expected, sequences

ROOT = Path(tests.__file__).parent.parent
QUICK = Policy(forward_limit_s=2.0, load_limit_s=20.0, backoff_s=0.05, max_backoff_s=0.2, max_crashes=5, exercise_s=0.2)
POLL_S = 0.02


def spec(factory: str = "make", *, budget_tokens: int = 2048, max_pairs: int | None = None, **options: object) -> WorkerSpec:
    """A worker with a scorer of `tests.fakes`."""
    return WorkerSpec(
        factory=f"tests.fakes:{factory}", options=options, budget_tokens=budget_tokens, max_pairs=max_pairs, environment={"PYTHONPATH": str(ROOT)}
    )  # fmt: skip


class Engine:
    """`async with`: a queue, its workers up (unless told not to wait), and one open client per HTTP process."""

    def __init__(
        self, directory: Path, *specs: WorkerSpec, owners: int = 1, policy: Policy = QUICK, limit_tokens: int = 1 << 20, wait: bool = True
    ) -> None:
        make_queue(directory, queue_shape(workers=len(specs), owners=owners, limit_tokens=limit_tokens, max_request_scores=2000))
        self.directory, self.lifeline, self._wait = directory, Lifeline(), wait
        self.pool = Pool(directory, list(specs), policy, self.lifeline, "ERROR")
        self.clients: list[QueueClient] = []
        self._owners = owners

    async def __aenter__(self) -> Engine:
        self._polling = asyncio.ensure_future(self._poll())
        self.clients = [await QueueClient.open(self.directory, index) for index in range(self._owners)]
        if self._wait:
            await self.until(lambda: all(worker.state == "ready" for worker in self.pool.workers()), 30.0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._polling.cancel()
        for client in self.clients:
            await client.close()
        await asyncio.to_thread(self.pool.stop, 5.0)
        self.pool.close()
        self.lifeline.close()

    async def _poll(self) -> None:
        while True:
            self.pool.poll()
            await asyncio.sleep(POLL_S)

    @property
    def client(self) -> QueueClient:
        return self.clients[0]

    def worker(self, slot: int = 0) -> WorkerView:
        return self.pool.workers()[slot]

    def kill(self, slot: int = 0, number: int = signal.SIGKILL) -> None:
        """Send a worker a signal."""
        os.kill(self.worker(slot).pid, number)

    def suspects(self) -> int:
        """Entries that were on the device when a worker died, and are not scored yet."""
        return sum(
            int((arena.rows["attempts"][(arena.states == WAITING) | (arena.states == LEASED)] > 0).sum())
            for arena in self.pool.queue.arenas
        )

    async def score(self, request: Sequences, *, limit_s: float = 20.0, owner: int = 0) -> Scored:
        return await self.clients[owner].score(request, deadline=time.monotonic() + limit_s)

    async def right(self, request: Sequences, *, limit_s: float = 20.0, owner: int = 0) -> None:
        """The request's own scores come back."""
        np.testing.assert_array_equal((await self.score(request, limit_s=limit_s, owner=owner)).raw, expected(request))

    async def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> float:
        """Wait for a condition; how long it took, in seconds."""
        began = time.monotonic()
        while not condition():
            if self._polling.done():
                self._polling.result()
            assert time.monotonic() - began < limit_s, f"it did not happen within {limit_s} s: {self.pool!r}"
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def idle(self) -> None:
        """Wait until nothing is in use; what is left then was lost."""
        queue = Queue(self.directory)
        try:
            await self.until(lambda: not any(arena.states.any() for arena in queue.arenas), 5.0)
            assert all(arena.reserved_tokens == 0 for arena in queue.arenas)
            assert all("Heap(0 of" in repr(client) for client in self.clients)
        finally:
            queue.close()


def some(count: int, seed: int = 0) -> list[Sequences]:
    """Requests of 1 to 12 sequences of 1 to 40 tokens, some with a shared one, none with poison."""
    dice = random.Random(seed)
    return [
        sequences([[dice.randint(1, 600) for _ in range(dice.randint(1, 40))] for _ in range(dice.randint(2, 13))], shared=dice.random() < 0.3)
        for _ in range(count)
    ]  # fmt: skip


BAD = sequences([[3, POISON, 5], [6]])


def run(engine: Engine, test: Callable[[Engine], Awaitable[None]]) -> None:
    """Run a test in an engine, which afterwards has nothing left in use."""

    async def main() -> None:
        async with engine:
            await test(engine)
            await engine.idle()

    asyncio.run(main())

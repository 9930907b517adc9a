"""A model run without HTTP, for the commands that try it out: one worker process, its queue, and the same use case that serves requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from batching.client import QueueClient
from batching.families.card import ModelCard
from batching.families.encode import Encoder
from batching.lifeline import Lifeline
from batching.pool import Pool
from batching.queue_files import make_queue, queue_shape
from batching.restart import Policy
from batching.worker_view import WorkerView
from service import placement, runtime_dir
from service.metrics import Metrics
from service.models import Models, Served
from service.rerank import Context, Reranker
from service.schemas import RerankRequest, RerankResult
from service.settings import Settings

POLL_S = 0.05
STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """A loaded model; `worker` says how it runs."""

    reranker: Reranker
    worker: WorkerView
    loaded_s: float
    """From the start of its process to its first answer."""

    async def rank(self, query: str, documents: Sequence[str], *, instruction: str | None = None, timeout_s: float = 600.0) -> RerankResult:
        """Rank documents. Raises what `Reranker.rank` raises."""
        now = time.monotonic()
        context = Context(request_id="local", started=now, deadline=now + timeout_s, charge=lambda tokens: None)
        request = RerankRequest(query=query, documents=list(documents), instruction=instruction)
        return (await self.reranker.rank([request], context))[0]


def as_served(settings: Settings, card: ModelCard) -> Settings:
    """Return settings under which one worker runs as each of `rerankd serve`'s would: on the CPU, with its share of the cores only."""
    specs = placement.specs(settings, card, placement.look(dict(os.environ)), len(settings.model_name))
    return msgspec.structs.replace(settings, threads=int(str(specs[0].options["threads"])))


@contextlib.asynccontextmanager
async def local_engine(settings: Settings, card: ModelCard) -> AsyncIterator[LocalEngine]:
    """Load one replica of a model in a worker process, and end it with the block, or with a signal. Raises StartError."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # else its shared memory would be left
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has the second ignored
            signal.signal(number, _leave)
    alone = msgspec.structs.replace(settings, replicas=1, device=settings.device[:1])
    specs = placement.specs(alone, card, placement.look(dict(os.environ)), 1)[:1]
    parent = runtime_dir.base(dict(os.environ), settings.runtime_dir)
    with runtime_dir.passing(parent) as made, ThreadPoolExecutor(1) as threads:
        directory = Path(made) / "0"
        make_queue(
            directory, queue_shape(workers=1, owners=1, limit_tokens=settings.queue_tokens, max_request_scores=settings.max_documents)
        )
        lifeline = Lifeline()
        policy = Policy(forward_limit_s=settings.forward_limit)
        pool = Pool(directory, specs, policy, lifeline, settings.log_level, log_json=settings.log_json)
        models = Models(alone, [Served(card, Encoder(card), lambda: QueueClient.open(directory, 0))])
        began = time.monotonic()
        poller = asyncio.create_task(_poll(pool))
        try:
            worker = await _ready(pool, poller)
            await models.open()
            yield LocalEngine(Reranker(alone, models, Metrics(models.names, []), threads), worker, time.monotonic() - began)
        finally:
            poller.cancel()
            await models.close()
            pool.stop(STOP_S)
            pool.close()
            lifeline.close()


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


async def _poll(pool: Pool) -> None:
    while True:
        pool.poll()
        await asyncio.sleep(POLL_S)


async def _ready(pool: Pool, poller: asyncio.Task[None]) -> WorkerView:
    while True:
        worker = pool.workers()[0]
        if worker.state == "ready":
            return worker
        if error := pool.failed():
            raise error
        if poller.done():
            poller.result()
        await asyncio.sleep(POLL_S)

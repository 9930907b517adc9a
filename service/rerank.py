"""The use case: check a call against the limits, admit it, tokenize it, have it scored, and rank. Knows no HTTP and no dialect.

A call may hold several requests (one per distinct query); they are admitted as one, tokenized in one go and scored side by side.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import msgspec

from batching.families.spread import Spread
from batching.job import Scored
from service import ranking
from service.held import Held
from service.images.gallery import Gallery
from service.metrics import Metrics
from service.models import Model, Models
from service.ranking import Plan, Prepared, Told
from service.schemas import RerankRequest, RerankResult
from service.score_cache import ScoreCache
from service.settings import Settings
from service.tracing import Trace
from service.turns import Turns

log = logging.getLogger("rerankd.rerank")

INLINE_TOKENS = 4096
"""A call of at most about this size that comes alone is tokenized on the event loop: a thread's round trip would only take longer.
With others under way threads pay, where there are cores for them."""
INLINE_MET_TOKENS = 16384
"""The same for text whose words have been met. Looking them up holds the interpreter's lock, so threads would only wait for each other."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What comes with a call besides its requests. Times in monotonic seconds."""

    request_id: str
    started: float
    deadline: float
    charge: Callable[[int], None]
    """Told the call's real tokens as soon as they are counted."""
    owner: bytes = b""
    """Tells whose key was shown."""
    trace: Trace | None = None
    """Told what happened when, where calls are traced."""


class Reranker:
    """Ranks documents with the served models; `threads` tokenize, at once where there are `several`; `spread` share a lone call."""

    def __init__(
        self, settings: Settings, models: Models, metrics: Metrics, threads: Executor, *, several: bool = False, spread: int = 1
    ) -> None:
        self._settings, self._models, self._metrics, self._threads = settings, models, metrics, threads
        self._several, self._under_way = several, 0
        self._turns = Turns()
        self._spread = Spread(spread, lambda: self._under_way <= 1)
        for model in models.all:
            model.encoder.vocabulary.spread = self._spread
        self._gallery = Gallery(settings)
        most, per_key = settings.score_cache_bytes // len(models.names), settings.score_cache_per_key
        self._caches = {name: ScoreCache(most, per_key=per_key) for name in models.names} if most else {}

    async def rank(self, requests: Sequence[RerankRequest], context: Context) -> list[RerankResult]:
        """Return one result per request, in order.

        Raises InvalidRequest, TooLarge, NotFound, Overloaded, Unavailable, Expired, WorkerLost or ScoringFailed; then nothing is ranked.
        """
        if not requests:
            return []
        self._under_way += 1
        try:
            if any(request.images for request in requests):
                with self._gallery.held.hold() as held:
                    return await self._rank(requests, context, held)
            return await self._rank(requests, context)
        finally:
            self._under_way -= 1

    async def _rank(self, requests: Sequence[RerankRequest], context: Context, held: Held | None = None) -> list[RerankResult]:
        model = self._models.pick(requests[0].model)
        ranking.check_size(requests, self._settings.max_documents)
        whole = [ranking.plan(request, model, self._settings) for request in requests]
        cache = self._caches.get(model.name)
        recalled = [cache.recall(plan, context.owner) if cache is not None else None for plan in whole]
        plans = [plan if known is None else plan.only(known.missing) for plan, known in zip(whole, recalled, strict=True)]
        estimate = sum(plan.estimated_tokens for plan in plans)
        with model.queue.reserve(estimate, context.deadline) as reservation:
            began = time.monotonic()
            if held is not None:
                plans = [await self._illustrate(plan, held, context.deadline) for plan in plans]
            prepared = await self._prepare(plans, estimate)
            told = Told(request_id=context.request_id, started=context.started, tokenize_s=time.monotonic() - began)
            tokens = sum(one.encoded.sequences.tokens for one in prepared)
            reservation.adjust(tokens)
            context.charge(tokens)
            if context.trace is not None:
                context.trace.tokenized(model.name, began, tokens)
            scored = await _score_all(prepared, context)
        if context.trace is not None:
            context.trace.scored(scored)
        results = [
            ranking.conclude(one, answer, told, known.complete if known is not None else None)
            for one, answer, known in zip(prepared, scored, recalled, strict=True)
        ]
        for known in recalled:
            if cache is not None and known is not None:
                cache.remember(known)
        asyncio.get_running_loop().call_soon(self._tell, model, whole, results, context)  # when the answer is on its way
        return results

    async def _illustrate(self, plan: Plan, held: Held, deadline: float) -> Plan:
        """The plan with its images' tiles."""
        pictures = plan.model.card.family.pictures
        if not plan.request.images or pictures is None:
            return plan
        return replace(plan, images=await self._gallery.tiles(plan.request.images, pictures, held, deadline))

    def close(self) -> None:
        """End what runs beside the event loop."""
        self._gallery.close()
        self._spread.close()

    async def _prepare(self, plans: Sequence[Plan], estimate: int) -> list[Prepared]:
        if self._pays_inline(plans, estimate):
            await self._turns.take()
            return _prepare_all(plans)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _prepare_all, plans)

    def _pays_inline(self, plans: Sequence[Plan], estimate: int) -> bool:
        if estimate > INLINE_MET_TOKENS or any(plan.images for plan in plans):
            return False
        alone = self._under_way <= 1 or not self._several
        return (alone and estimate <= INLINE_TOKENS) or all(plan.is_met for plan in plans)

    def _tell(self, model: Model, plans: Sequence[Plan], results: Sequence[RerankResult], context: Context) -> None:
        """Count and log what was ranked."""
        self._metrics.cached(model, self._caches.get(model.name))
        for plan, result in zip(plans, results, strict=True):
            self._metrics.answered(result, repeats=len(plan.request.documents) - len(plan.documents))
            if result.errors:
                fields = {"request_id": context.request_id, "model": result.model, "documents": len(result.errors)}
                log.warning("scores that are not finite numbers", extra=fields)
            if self._settings.log_text:
                fields = {"request_id": context.request_id, "query": plan.request.query, "documents": plan.request.documents}
                log.debug("texts", extra=fields)


def _prepare_all(plans: Sequence[Plan]) -> list[Prepared]:
    return [ranking.prepare(plan) for plan in plans]


async def _score_all(prepared: Sequence[Prepared], context: Context) -> list[Scored]:
    trace = context.request_id.encode()[:16]
    calls = [
        one.plan.model.queue.score(one.encoded.sequences, deadline=context.deadline, priority=one.plan.request.priority, request_id=trace)
        for one in prepared
    ]
    if len(calls) == 1:
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()

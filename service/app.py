"""`create_app`: one HTTP process's application, out of settings and the models to serve. The only place where the parts meet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig

from batching.cores import usable_cores
from service import bodies, routes, routes_docs, routes_health, routes_info, tracing
from service.auth import KeyRing
from service.dialects import table
from service.direct import Direct
from service.exchange import Exchange, Outermost
from service.metrics import Metrics
from service.metrics_engine import EngineCollector
from service.models import Models, Served
from service.rate_limits import RateLimits
from service.refusals import refused
from service.rerank import Reranker
from service.settings import Settings
from service.state import State

MOST_THREADS = 8
MOST_SPREAD = 4
EXPOSED = ["X-Request-Id", "Server-Timing", "Retry-After"]


def create_app(settings: Settings, served: Sequence[Served], process_index: int, shared: Path | None = None) -> Litestar:
    """Build the application of HTTP process `process_index`.

    `shared` is a directory for what all HTTP processes count together (metrics, rate limits); without one this process counts alone.
    Queues are opened when the application starts and closed when it stops. `app.state.drain()` turns readiness false, `app.state.reload()`
    reads the keys again. Raises SettingError.
    """
    state = make_state(settings, served, process_index, shared)
    app = Litestar(
        route_handlers=[routes.rerank_, routes.tokenize_texts_, *routes_health.HANDLERS, *routes_info.HANDLERS, *routes_docs.HANDLERS],
        lifespan=[lambda app: _serving(state)],
        exception_handlers={Exception: answer_failure},
        cors_config=cors(settings),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
    app.state.rerankd, app.state.drain, app.state.reload = state, state.drain, state.reload
    app.asgi_handler = Outermost(Direct(app.asgi_handler, state, routes.HANDLERS), state.metrics, state.tracing)
    return app


def make_state(settings: Settings, served: Sequence[Served], process_index: int, shared: Path | None) -> State:
    """Make the parts of one HTTP process. Raises SettingError."""
    keys = KeyRing(settings)
    models = Models(settings, served)
    if shared is not None:
        shared.mkdir(mode=0o700, exist_ok=True)
    dialects = [*(dialect.name for dialect in table.DIALECTS), table.TOKENIZE]
    metrics = Metrics(models.names, dialects, process_index, shared, keys.names if settings.metrics_per_key else None)
    metrics.watch(EngineCollector(models.views))
    rates = RateLimits(settings.rate_limit_requests, settings.rate_limit_tokens, shared)
    cores = usable_cores()
    count = thread_count(cores, settings.workers)
    threads = ThreadPoolExecutor(count, thread_name_prefix="tokenize")
    reranker = Reranker(settings, models, metrics, threads, several=count > 1, spread=spread_width(cores))
    held = bodies.bound(settings.max_body_bytes)
    return State(settings, models, metrics, keys, rates, held, reranker, threads, tracing.open_tracing(settings, models, process_index))


def thread_count(cores: int, processes: int) -> int:
    """Return how many threads of one HTTP process tokenize: the cores, shared among the processes."""
    return max(1, min(MOST_THREADS, cores // processes))


def spread_width(cores: int) -> int:
    """Return how many threads may tokenize one call that comes alone: half the cores, for the forward and other processes want theirs."""
    return max(1, min(MOST_SPREAD, cores // 2))


def cors(settings: Settings) -> CORSConfig | None:
    """Return the rules for browsers; None, and so closed, unless origins are set."""
    if not settings.cors_origins:
        return None
    return CORSConfig(allow_origins=list(settings.cors_origins), allow_methods=["GET", "POST", "OPTIONS"], expose_headers=EXPOSED)


def answer_failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any failure on the way through Litestar, in the caller's dialect."""
    return routes.response(refused(Exchange.of(request.scope), error))


@contextlib.asynccontextmanager
async def _serving(state: State) -> AsyncIterator[None]:
    await state.models.open()
    try:
        yield
    finally:
        await state.models.close()
        state.threads.shutdown(wait=False, cancel_futures=True)
        state.reranker.close()
        if state.tracing is not None:
            await asyncio.to_thread(state.tracing.close)

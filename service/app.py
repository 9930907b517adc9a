"""`create_app`: one HTTP process's application, out of settings and the models to serve. The only place where the parts meet."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException

from batching.errors import RerankdError
from service import routes_docs, routes_health, routes_info, tracing
from service.auth import KeyRing
from service.dialects import table
from service.dialects.errors import error_body
from service.dialects.paths import dialect_of
from service.exchange import Exchange, Outermost
from service.failures import Failure, explain, refuse
from service.metrics import Metrics
from service.metrics_engine import EngineCollector
from service.models import Models, Served
from service.rate_limits import RateLimits
from service.rerank import Reranker
from service.routes import rerank, tokenize_texts
from service.settings import Settings
from service.state import State

log = logging.getLogger("rerankd.http")

MOST_THREADS = 8
EXPOSED = ["X-Request-Id", "Server-Timing", "Retry-After"]


def create_app(settings: Settings, served: Sequence[Served], process_index: int, shared: Path | None = None) -> Litestar:
    """Build the application of HTTP process `process_index`.

    `shared` is a directory for what all HTTP processes count together (metrics, rate limits); without one this process counts alone.
    Queues are opened when the application starts and closed when it stops. `app.state.drain()` turns readiness false, `app.state.reload()`
    reads the keys again. Raises SettingError.
    """
    state = make_state(settings, served, process_index, shared)
    app = Litestar(
        route_handlers=[rerank, tokenize_texts, *routes_health.HANDLERS, *routes_info.HANDLERS, *routes_docs.HANDLERS],
        lifespan=[lambda app: _serving(state)],
        exception_handlers={Exception: answer_failure},
        cors_config=cors(settings),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
    app.state.rerankd, app.state.drain, app.state.reload = state, state.drain, state.reload
    app.asgi_handler = Outermost(app.asgi_handler, state.metrics, state.tracing)
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
    count = thread_count(settings.workers)
    threads = ThreadPoolExecutor(count, thread_name_prefix="tokenize")
    reranker = Reranker(settings, models, metrics, threads, several=count > 1)
    return State(settings, models, metrics, keys, rates, reranker, threads, tracing.open_tracing(settings, models, process_index))


def thread_count(processes: int) -> int:
    """Return how many threads of one HTTP process tokenize: the cores, shared among the processes."""
    return max(1, min(MOST_THREADS, (os.cpu_count() or 1) // processes))


def cors(settings: Settings) -> CORSConfig | None:
    """Return the rules for browsers; None, and so closed, unless origins are set."""
    if not settings.cors_origins:
        return None
    return CORSConfig(allow_origins=list(settings.cors_origins), allow_methods=["GET", "POST", "OPTIONS"], expose_headers=EXPOSED)


def answer_failure(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any failure, in the caller's dialect. Only what nobody foresaw is logged with its trace."""
    exchange = Exchange.of(request.scope)
    failure, headers = _explained(error)
    if failure.status >= 500 and not isinstance(error, RerankdError):
        log.error("unforeseen failure", exc_info=error, extra={"request_id": exchange.request_id, "path": exchange.path})
    exchange.reason = failure.reason
    call = exchange.call
    status, body, media_type = error_body(
        call.dialect if call else dialect_of(exchange.path),
        failure.status,
        failure.message,
        failure.error_type,
        exchange.request_id,
        field=failure.field,
        packed=call.packed if call else False,
    )
    return Response(body, status_code=status, media_type=media_type, headers={**headers, **failure.headers})


def _explained(error: Exception) -> tuple[Failure, dict[str, str]]:
    if isinstance(error, HTTPException) and error.status_code < 500:
        return refuse(error.status_code, error.detail), dict(error.headers or {})
    return explain(error), {}


@contextlib.asynccontextmanager
async def _serving(state: State) -> AsyncIterator[None]:
    await state.models.open()
    try:
        yield
    finally:
        await state.models.close()
        state.threads.shutdown(wait=False, cancel_futures=True)
        if state.tracing is not None:
            await asyncio.to_thread(state.tracing.close)

"""Every rerank path, in one handler: who asks and how much, in which dialect, the ranking, the answer. No policy and no wire format."""

from __future__ import annotations

import math
from typing import Any

from litestar import Request, Response, post

from batching.errors import InvalidRequest
from service.bodies import HangUp, read_body
from service.dialects import table
from service.dialects.nouns import Call
from service.dialects.paths import ROUTES
from service.exchange import Exchange
from service.packing import packed
from service.rerank import Context
from service.state import State
from service.tokenizing import tokenize
from service.tracing import Trace

AnyRequest = Request[Any, Any, Any]

TOKENIZE_PATH = "/tokenize"
RERANK_PATHS = [found.path for found in ROUTES if found.path != TOKENIZE_PATH]


LEAST_TIMEOUT_S = 0.001


@post(RERANK_PATHS, status_code=200, include_in_schema=False)
async def rerank(request: AnyRequest) -> Response[bytes]:
    """Rank documents in whatever dialect the caller speaks."""
    state, exchange = State.of(request.app), Exchange.of(request.scope)
    call = begin(state, exchange)
    left_s = timeout_s(exchange, state.settings.request_timeout)
    deadline = exchange.started + left_s
    body = await read_body(request.receive, exchange.headers, state.settings.max_body_bytes, left_s)
    decoded = table.read(body, call)
    context = Context(
        request_id=exchange.request_id,
        started=exchange.started,
        deadline=deadline,
        charge=lambda tokens: state.rates.charge(exchange.caller, tokens),
        owner=exchange.owner,
        trace=exchange.trace,
    )
    async with HangUp(request.receive):
        results = await state.reranker.rank(decoded.requests, context)
    exchange.answered(results)
    content, media_type, headers = table.write(decoded, results, call)
    return packed(content, media_type, headers, exchange.headers)


@post(TOKENIZE_PATH, status_code=200, include_in_schema=False)
async def tokenize_texts(request: AnyRequest) -> Response[bytes]:
    """Say how the default model's tokenizer reads texts, as text-embeddings-inference does."""
    state, exchange = State.of(request.app), Exchange.of(request.scope)
    call = begin(state, exchange)
    left_s = timeout_s(exchange, state.settings.request_timeout)
    body = await read_body(request.receive, exchange.headers, state.settings.max_body_bytes, left_s)
    content, media_type = await tokenize(body, call, state.models.all[0], state.threads)
    return packed(content, media_type, {}, exchange.headers)


def begin(state: State, exchange: Exchange) -> Call:
    """Open a counted call: note the dialect that its path suggests, then ask who it is. Raises Unauthorized or RateLimited."""
    call = exchange.call = table.call(
        exchange.path, exchange.headers, max_documents=state.settings.max_documents, request_id=exchange.request_id
    )
    state.metrics.in_flight.inc()
    if state.tracing is not None:
        exchange.trace = Trace()
    key = state.keys.admit(exchange.headers)
    if key is not None:
        exchange.key = exchange.caller = key.name
        exchange.owner = key.digest
    state.rates.admit(exchange.caller)
    return call


def timeout_s(exchange: Exchange, most: float) -> float:
    """Return the seconds that an answer may take: X-Request-Timeout, at most the setting. Raises InvalidRequest."""
    given = exchange.headers.get("x-request-timeout")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds >= LEAST_TIMEOUT_S:
        raise InvalidRequest(f"X-Request-Timeout: expected at least {LEAST_TIMEOUT_S} seconds, got {given[:40]!r}", "X-Request-Timeout")
    return min(seconds, most)

"""Every rerank path, in one handler: who asks and how much, in which dialect, the ranking, the answer. No policy and no wire format.

`HANDLERS` are called by `direct.py`; what it does not take comes through Litestar, to the same functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, post
from litestar.exceptions import ClientException
from litestar.types import Receive

from batching.errors import InvalidRequest
from service.bodies import HangUp, read_body
from service.dialects import table
from service.dialects.nouns import Call
from service.dialects.paths import ROUTES
from service.direct import Handler
from service.exchange import Exchange
from service.held import Held
from service.packing import Answer, packed
from service.rerank import Context
from service.state import State
from service.tokenizing import tokenize
from service.tracing import Trace

AnyRequest = Request[Any, Any, Any]

TOKENIZE_PATH = "/tokenize"
RERANK_PATHS = [found.path for found in ROUTES if found.path != TOKENIZE_PATH]


LEAST_TIMEOUT_S = 0.001


async def rerank(state: State, exchange: Exchange, receive: Receive) -> Answer:
    """Rank documents in whatever dialect the caller speaks."""
    call = begin(state, exchange)
    left_s = timeout_s(exchange, state.settings.request_timeout)
    with state.bodies.hold() as held:
        decoded = table.read(await _body(state, exchange, receive, left_s, held), call)
        context = Context(
            request_id=exchange.request_id,
            started=exchange.started,
            deadline=exchange.started + left_s,
            charge=lambda tokens: state.rates.charge(exchange.caller, tokens),
            owner=exchange.owner,
            trace=exchange.trace,
        )
        async with HangUp(receive):
            results = await state.reranker.rank(decoded.requests, context)
        exchange.answered(results)
        content, media_type, headers = table.write(decoded, results, call)
    return _packed(exchange, content, media_type, headers)


async def tokenize_texts(state: State, exchange: Exchange, receive: Receive) -> Answer:
    """Say how the default model's tokenizer reads texts, as text-embeddings-inference does."""
    call = begin(state, exchange)
    left_s = timeout_s(exchange, state.settings.request_timeout)
    with state.bodies.hold() as held:
        body = await _body(state, exchange, receive, left_s, held)
        content, media_type = await tokenize(body, call, state.models.all[0], state.threads)
    return _packed(exchange, content, media_type, {})


HANDLERS: Mapping[str, Handler] = {path: rerank for path in RERANK_PATHS if "{" not in path} | {TOKENIZE_PATH: tokenize_texts}
"""Who answers a POST, by its exact path."""


@post(RERANK_PATHS, status_code=200, include_in_schema=False)
async def rerank_(request: AnyRequest) -> Response[bytes]:
    """Rank, for what comes by way of Litestar."""
    return response(await rerank(State.of(request.app), Exchange.of(request.scope), request.receive))


@post(TOKENIZE_PATH, status_code=200, include_in_schema=False)
async def tokenize_texts_(request: AnyRequest) -> Response[bytes]:
    """Tokenize, for what comes by way of Litestar."""
    return response(await tokenize_texts(State.of(request.app), Exchange.of(request.scope), request.receive))


def response(answer: Answer) -> Response[bytes]:
    """Return an answer as Litestar takes it."""
    return Response(answer.body, media_type=answer.media_type, headers=dict(answer.headers), status_code=answer.status)


async def _body(state: State, exchange: Exchange, receive: Receive, left_s: float, held: Held) -> bytes:
    """Read the body. Raises ClientException (415) for a compressed one, TooLarge, Overloaded, Cancelled, TooSlow."""
    coding = exchange.headers.get("content-encoding", "identity")
    if coding.lower() not in ("identity", ""):
        raise ClientException(f"Content-Encoding: bodies are read as they are, without compression; got {coding[:40]!r}", status_code=415)
    return await read_body(receive, exchange.headers, state.settings.max_body_bytes, left_s, held)


def _packed(exchange: Exchange, content: bytes, media_type: str, headers: Mapping[str, str]) -> Answer:
    answer = packed(content, media_type, headers, exchange.headers)
    exchange.varies = answer.headers.get("vary", "")
    return answer


def begin(state: State, exchange: Exchange) -> Call:
    """Open a counted call: note the dialect that its path suggests, then ask who it is. Raises Unauthorized or RateLimited."""
    call = exchange.call = table.call(
        exchange.path, exchange.headers, max_documents=state.settings.max_documents, request_id=exchange.request_id
    )
    state.metrics.begun()
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

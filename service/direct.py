"""The rerank paths served by ASGI alone. Litestar's layers around a handler cost more than ours inside it, and a rerank call needs none.

Only what needs no look from Litestar is taken: a POST on exactly one of these paths. Everything else, other methods, slashes too many,
browsers of other origins, strange hosts, goes through Litestar, to the same handlers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from service.exchange import Exchange
from service.packing import Answer
from service.refusals import refused
from service.state import State

Handler = Callable[[State, Exchange, Receive], Awaitable[Answer]]

_PLAIN_HOST = re.compile(rb"[0-9A-Za-z.:\[\]-]*")


class Direct:
    """Stands before the application: serves `handlers` by path itself and hands on what is not theirs."""

    def __init__(self, app: ASGIApp, state: State, handlers: Mapping[str, Handler]) -> None:
        self._app, self._state, self._handlers = app, state, handlers
        self._browsers = bool(state.settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange."""
        handler = self._handler(scope) if scope["type"] == ScopeType.HTTP else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        exchange = Exchange.of(scope)
        try:
            answer = await handler(self._state, exchange, receive)
        except Exception as error:  # noqa: BLE001  a request's boundary
            answer = refused(exchange, error)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.fields()})
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})

    def _handler(self, scope: HTTPScope) -> Handler | None:
        handler = self._handlers.get(scope["path"]) if scope["method"] == "POST" else None
        if handler is None or scope.get("root_path") or not _PLAIN_HOST.fullmatch(_host(scope)):
            return None
        return None if self._browsers and "origin" in Exchange.of(scope).headers else handler


def _host(scope: HTTPScope) -> bytes:
    return next((value for name, value in scope["headers"] if name == b"host"), b"")

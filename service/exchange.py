"""One HTTP exchange as everything around a request sees it: ids, times, what was found out; and the outermost layer that keeps it.

The layer gives every answer its X-Request-Id and Server-Timing, whichever handler, error or 404 it came from, and writes one log line.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from service.dialects.nouns import Call
from service.logs import ACCESS
from service.metrics import Metrics
from service.schemas import RerankResult
from service.tracing import Trace, Tracing

KEY = "rerankd"
"""Where a scope keeps its Exchange."""
LONGEST_ID = 128

log = logging.getLogger(ACCESS)


class Exchange:
    """What is known of one exchange so far. Times in monotonic seconds."""

    __slots__ = (
        "call",
        "caller",
        "documents",
        "headers",
        "key",
        "method",
        "model",
        "owner",
        "path",
        "reason",
        "request_id",
        "started",
        "status",
        "timing",
        "tokens",
        "trace",
        "varies",
    )

    def __init__(self, scope: HTTPScope) -> None:
        self.started = time.monotonic()
        self.method, self.path = scope["method"], scope["path"]
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.request_id = request_id(self.headers)
        self.call: Call | None = None
        """Set on rerank paths only, which are the ones that are counted."""
        self.key: str | None = None
        self.owner = b""
        """The key's hash."""
        client = scope["client"]
        self.caller = client[0] if client else ""
        """Whose rate this counts against: the key's name, or the address."""
        self.status = 0
        self.reason = ""
        self.timing = ""
        self.model = ""
        self.documents = self.tokens = 0
        self.varies = ""
        """The answer's Vary as it was made."""
        self.trace: Trace | None = None
        """Set where calls are traced."""

    @classmethod
    def of(cls, scope: Scope) -> Exchange:
        """Return the exchange that a scope belongs to."""
        exchange: Exchange = scope[KEY]  # type: ignore[literal-required]
        return exchange

    def answered(self, results: Sequence[RerankResult]) -> None:
        """Note what was ranked, for the log and for Server-Timing."""
        for result in results:
            times = result.timings
            self.model = result.model
            self.documents += len(result.raw)
            self.tokens += result.pair_tokens
        if results:
            self.timing = (
                f"tokenize;dur={times.tokenize_s * 1e3:.3f}, queue;dur={max(r.timings.queue_s for r in results) * 1e3:.3f}, "
                f"forward;dur={max(r.timings.forward_s for r in results) * 1e3:.3f}, "
            )


class Outermost:
    """Wraps the application's ASGI handler."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app, self._metrics, self._tracing = app, metrics, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one exchange; anything but HTTP passes through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope)
        scope[KEY] = exchange  # type: ignore[literal-required]

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                spent = f"{exchange.timing}total;dur={(time.monotonic() - exchange.started) * 1e3:.3f}"
                message["headers"] = [
                    *varying(message["headers"], exchange.varies.encode()),
                    (b"x-request-id", exchange.request_id.encode()),
                    (b"server-timing", spent.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        finally:
            self._close(exchange)

    def _close(self, exchange: Exchange) -> None:
        call = exchange.call
        if call is not None:
            self._metrics.closed(call.dialect, exchange.status or 499, exchange.reason)
            self._metrics.key_seen(exchange.key, 1, exchange.tokens)
            if self._tracing is not None:
                self._tracing.tell(exchange)
        level = logging.INFO if call is not None or exchange.status == 500 else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "%s %s %s", exchange.method, exchange.path, exchange.status or 499, extra=_fields(exchange))


def varying(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> Iterable[tuple[bytes, bytes]]:
    """Return an answer's headers with `name` among those of Vary: Litestar's rules for browsers put theirs in its place."""
    told = [value for key, value in headers if key.lower() == b"vary"]
    if not name or name in told:
        return headers
    return [*(field for field in headers if field[0].lower() != b"vary"), (b"vary", b", ".join((*told, name)))]


def request_id(headers: Mapping[str, str]) -> str:
    """Return the caller's X-Request-Id if it is fit for a header and a log line, else a new one."""
    given = headers.get("x-request-id", "")
    if given and len(given) <= LONGEST_ID and given.isascii() and given.isprintable():
        return given
    return os.urandom(16).hex()


def _fields(exchange: Exchange) -> dict[str, object]:
    fields: dict[str, object] = {"request_id": exchange.request_id, "seconds": round(time.monotonic() - exchange.started, 6)}
    if exchange.call is not None:
        fields["dialect"] = exchange.call.dialect
    for name in ("model", "documents", "tokens", "key", "reason", "caller"):
        if value := getattr(exchange, name):
            fields[name] = value
    return fields

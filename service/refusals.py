"""Any failure as an answer, in the caller's dialect. What it means is `failures.py`'s, how it is worded `dialects/errors.py`'s."""

from __future__ import annotations

import logging

from litestar.exceptions import HTTPException

from batching.errors import RerankdError
from service.dialects.errors import error_body
from service.dialects.paths import dialect_of, normal
from service.exchange import Exchange
from service.failures import Failure, explain, refuse
from service.packing import Answer

BAD_HOST = "Invalid host header"
"""What Litestar says of a Host that can be none."""
SHOWN = 100
"""Characters of a path or a host that a message repeats."""

log = logging.getLogger("rerankd.http")


def refused(exchange: Exchange, error: Exception) -> Answer:
    """Return what a caller is told, and note why. Only what nobody foresaw is logged with its trace."""
    failure, headers = _explained(exchange, error)
    if failure.status >= 500 and not isinstance(error, RerankdError):
        log.error("unforeseen failure", exc_info=error, extra={"request_id": exchange.request_id, "path": exchange.path})
    exchange.reason = failure.reason
    call = exchange.call
    status, body, media_type = error_body(
        call.dialect if call else dialect_of(normal(exchange.path)),
        failure.status,
        failure.message,
        failure.error_type,
        exchange.request_id,
        field=failure.field,
        packed=call.packed if call else False,
    )
    return Answer(body, media_type, {**headers, **failure.headers}, status)


def _explained(exchange: Exchange, error: Exception) -> tuple[Failure, dict[str, str]]:
    if isinstance(error, HTTPException) and error.status_code < 500:
        return refuse(error.status_code, _named(exchange, error)), dict(error.headers or {})
    return explain(error), {}


def _named(exchange: Exchange, error: HTTPException) -> str:
    """What is wrong and with what; Litestar's own words name nothing."""
    path = repr(exchange.path[:SHOWN])
    if error.status_code == 404:
        return f"path: {path} is not served here; /docs says which are"
    if error.status_code == 405:
        allowed = {name.lower(): value for name, value in (error.headers or {}).items()}.get("allow", "others")
        return f"method: {exchange.method} is not allowed on {path}, only {allowed}"
    if error.detail == BAD_HOST:
        return f"Host: {exchange.headers.get('host', '')[:SHOWN]!r} is not a host"
    return error.detail

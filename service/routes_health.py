"""Whether to send work here, and /metrics: for load balancers, orchestrators and Prometheus. Open to anyone but for METRICS_AUTH."""

from __future__ import annotations

from typing import Any

from litestar import HttpMethod, Request, Response, route

from service import health
from service.exchange import Exchange
from service.state import State

AnyRequest = Request[Any, Any, Any]
READ = [HttpMethod.GET, HttpMethod.HEAD]
"""Load balancers ask with HEAD."""


@route(["/health", "/healthz", "/ping"], http_method=READ, include_in_schema=False)
async def health_(request: AnyRequest) -> Response[dict[str, Any]]:
    """Tell all at once: 200 while work may be sent, else 503."""
    state = State.of(request.app)
    verdict = state.verdict()
    return Response(health.describe(verdict, state.models.all, state.models.views()), status_code=200 if verdict.ready else 503)


@route(["/health/live", "/live", "/livez"], http_method=READ, include_in_schema=False)
async def live() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@route(["/health/ready", "/ready", "/readyz"], http_method=READ, include_in_schema=False)
async def ready(request: AnyRequest) -> Response[dict[str, str]]:
    """200 only when every model has a worker to rely on and nothing is stopping."""
    verdict = State.of(request.app).verdict()
    detail = {"detail": verdict.detail} if verdict.detail else {}
    return Response({"status": verdict.status, **detail}, status_code=200 if verdict.ready else 503)


@route("/v1/health/live", http_method=READ, include_in_schema=False)
async def nim_live() -> dict[str, str]:
    """The same in NVIDIA NIM's words."""
    return {"object": "health.response", "message": "Service is live.", "status": "live"}


@route("/v1/health/ready", http_method=READ, include_in_schema=False)
async def nim_ready(request: AnyRequest) -> Response[dict[str, str]]:
    """The same in NVIDIA NIM's words."""
    verdict = State.of(request.app).verdict()
    message = "Service is ready." if verdict.ready else verdict.detail
    body = {"object": "health.response", "message": message, "status": "ready" if verdict.ready else verdict.status}
    return Response(body, status_code=200 if verdict.ready else 503)


@route("/metrics", http_method=READ, include_in_schema=False)
async def metrics(request: AnyRequest) -> Response[bytes]:
    """Tell everything that is counted, summed over all HTTP processes, in Prometheus' format."""
    state, exchange = State.of(request.app), Exchange.of(request.scope)
    if state.settings.metrics_auth:
        state.keys.admit(exchange.headers)
    page, media_type = state.metrics.page(exchange.headers.get("accept", ""))
    return Response(page, media_type=media_type, headers={"content-type": media_type})  # whole: of a text, the charset would be said twice


HANDLERS = [health_, live, ready, nim_live, nim_ready, metrics]

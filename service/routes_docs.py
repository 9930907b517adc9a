"""The pages for people: `/`, `/docs` and the OpenAPI document behind it. All of it comes from files in this package."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, route

from service import health, openapi
from service.exchange import Exchange
from service.routes_health import READ
from service.state import State

AnyRequest = Request[Any, Any, Any]

_ASSETS = Path(__file__).parent / "assets"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_FILES = ("page.css", "page.js", "docs.css", "docs.js")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""The pages run their own scripts only, and talk to nobody else."""


@route("/", http_method=READ, include_in_schema=False)
async def root(request: AnyRequest) -> Response[Any]:
    """Show people the page to try it on, and tell programs what this is."""
    if "text/html" in Exchange.of(request.scope).headers.get("accept", ""):
        return _page("page.html")
    state = State.of(request.app)
    verdict = state.verdict()
    told = {
        "service": "rerankd",
        "status": verdict.status,
        "version": health.version(),
        "models": state.models.names,
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
        "metrics": "/metrics",
    }
    return Response(told)


@route("/docs", http_method=READ, include_in_schema=False)
async def docs() -> Response[bytes]:
    """Show the API, from the document below."""
    return _page("docs.html")


@route(["/openapi.json", "/schema/openapi.json", "/api-doc/openapi.json"], http_method=READ, include_in_schema=False)
async def document() -> Response[bytes]:
    """Give the OpenAPI document."""
    return Response(openapi.document(), media_type=MediaType.JSON)


@route([f"/assets/{name}" for name in _FILES], http_method=READ, include_in_schema=False)
async def asset(request: AnyRequest) -> Response[bytes]:
    """Give a file of the pages."""
    return _page(request.url.path.rpartition("/")[2])


def _page(name: str) -> Response[bytes]:
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(_read(name), media_type=_KINDS[Path(name).suffix], headers=headers)


@functools.cache
def _read(name: str) -> bytes:
    return (_ASSETS / name).read_bytes()


HANDLERS = [root, docs, document, asset]

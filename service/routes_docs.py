"""The pages for people: `/`, `/docs` and the OpenAPI document behind it. All of it comes from files in this package."""

from __future__ import annotations

from typing import Any

from litestar import MediaType, Request, Response, get

from service import openapi
from service.exchange import Exchange
from service.state import State

AnyRequest = Request[Any, Any, Any]


@get("/", include_in_schema=False)
async def root(request: AnyRequest) -> Response[Any]:
    """Show people the page to try it on, and tell programs what this is."""
    state = State.of(request.app)
    if "text/html" in Exchange.of(request.scope).headers.get("accept", ""):
        return _page("index.html")
    return Response(openapi.service_info(state.models.names, state.verdict()))


@get("/docs", include_in_schema=False)
async def docs() -> Response[bytes]:
    """Show the API, from the document below."""
    return _page("docs.html")


@get(["/openapi.json", "/schema/openapi.json", "/api-doc/openapi.json"], include_in_schema=False)
async def document() -> Response[bytes]:
    """Give the OpenAPI document."""
    return Response(openapi.document(), media_type=MediaType.JSON)


def _page(name: str) -> Response[bytes]:
    headers = {"content-security-policy": openapi.POLICY, "cache-control": "no-cache"}
    return Response(openapi.asset(name), media_type=MediaType.HTML, headers=headers)


HANDLERS = [root, docs, document]

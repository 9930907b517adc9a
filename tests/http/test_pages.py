"""The pages and the OpenAPI document: whole, true to the routes, and with nothing from elsewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from service.dialects.paths import ROUTES
from tests.http.conftest import Client

PAGES = ("/docs", "/assets/docs.css", "/assets/docs.js", "/assets/page.css", "/assets/page.js", "/openapi.json")


def test_pages_load_nothing_from_elsewhere(client: Client) -> None:
    """No page, style or script names another host, and the policy forbids it."""
    texts = [client.get("/", headers={"Accept": "text/html"}), *(client.get(path) for path in PAGES)]
    for answer in texts:
        assert answer.status_code == 200
        assert not re.search(r"(?:src|href|url|import|fetch)\W{1,3}(?:https?:)?//", answer.text), answer.url
    policy = texts[0].headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    for page in (texts[0], texts[1]):
        for found in re.findall(r'(?:src|href)="(/[^"]*)"', page.text):
            assert client.get(found).status_code == 200, found


def test_root_tells_programs_what_this_is(client: Client) -> None:
    """JSON unless a browser asks."""
    assert client.get("/").json()["service"] == "rerankd"


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_document_names_every_route_and_no_other(client: Client, document: dict[str, Any]) -> None:
    """What is described is served, and what clients post to is described."""
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    assert {(route.path.replace(":path}", "}"), "post") for route in ROUTES} <= described
    for path, method in described:
        answer = client.request(method, re.sub(r"{\w+}", "x", path), json={} if method == "post" else None)
        assert answer.status_code not in {405, 500}, (path, method)
        assert str(answer.status_code) in document["paths"][path][method]["responses"], (path, method, answer.status_code)


def test_references_resolve_and_ids_differ(document: dict[str, Any]) -> None:
    """Every $ref leads somewhere; operation ids are unique."""

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            return [node["$ref"] for key in node if key == "$ref"] + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    for reference in set(references(document)):
        at: Any = document
        for key in reference.removeprefix("#/").split("/"):
            at = at[key]
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)

"""The short way that rerank calls take past Litestar: whoever takes it can't tell, and what needs Litestar never does."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest

from service.app import make_state
from service.dialects.paths import ROUTES
from service.direct import Direct
from service.exchange import KEY, Exchange
from service.packing import Answer
from service.routes import HANDLERS
from service.state import State
from tests.http.conftest import Client, Start
from tests.http.fakes import FakeModel, settings

GOOD = {"query": "a", "documents": ["b", "cc"], "model": "m", "return_documents": True}
LONG = {**GOOD, "documents": ["many words " * 40 + str(number) for number in range(20)]}
OURS = {"X-Request-Id": "one"}
VARYING = {"server-timing", "date"}
CREATED = re.compile(rb"created.{12}", re.DOTALL)


def _told(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    kept = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return answer.status_code, CREATED.sub(b"", answer.content), kept


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"json": GOOD}, id="a ranking"),
        pytest.param({"json": LONG, "headers": {"Accept-Encoding": "gzip"}}, id="compressed"),
        pytest.param({"json": {"query": "a"}}, id="invalid"),
        pytest.param({"content": b"{", "headers": {"Content-Type": "application/json"}}, id="no JSON"),
        pytest.param({"json": GOOD, "headers": {"X-Request-Timeout": "soon"}}, id="a bad header"),
        pytest.param({"json": GOOD, "headers": {"Accept": "application/msgpack"}}, id="MessagePack"),
        pytest.param({"content": b"x" * 3000}, id="too large"),
    ],
)
def test_both_ways_answer_alike(start: Start, asked: dict[str, Any]) -> None:
    """Status, body and every header are the same by the exact path and by one that only Litestar resolves."""
    client = start(max_body_bytes="2K" if "content" in asked else "1M")
    headers = {**asked.get("headers", {}), **OURS}
    directly, around = (client.post(path, **{**asked, "headers": headers}) for path in ("/v1/rerank", "/v1/rerank/"))
    assert _told(directly) == _told(around)


def test_a_queue_that_is_full_and_a_failure_nobody_foresaw_are_told_alike(start: Start, model: FakeModel) -> None:
    """Failures behind the handler take both ways too, and are counted on both."""
    client = start()
    for error in (RuntimeError("secret"), ValueError("secret")):
        model.client.error = error
        directly, around = (client.post(path, json=GOOD, headers=OURS) for path in ("/v1/rerank", "/v1/rerank/"))
        assert _told(directly) == _told(around)
        assert directly.status_code == 500
        assert "secret" not in directly.text
    assert 'rerankd_rejections_total{reason="internal"} 4.0' in client.get("/metrics").text


def test_other_methods_are_refused_by_name(client: Client) -> None:
    """405 with what is allowed, on every path that is served directly."""
    for path in HANDLERS:
        if path != "/":  # which the page answers
            answer = client.put(path, json=GOOD)
            assert (answer.status_code, "POST" in answer.headers["allow"]) == (405, True), path


def test_a_host_that_is_none_is_refused(client: Client) -> None:
    """As on every other path."""
    for path in ("/rerank", "/health"):
        answer = client.post(path, json=GOOD, headers={"Host": 'a"b'})
        assert (answer.status_code, answer.json()["detail"]) == (400, "Host: 'a\"b' is not a host")


def test_browsers_of_other_origins_are_told_the_rules(start: Start) -> None:
    """With origins set, an answer to a browser carries them; other callers' answers do not."""
    client = start(cors_origins="https://a.example")
    answer = client.post("/rerank", json=GOOD, headers={"Origin": "https://a.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://a.example")
    assert "access-control-allow-origin" not in client.post("/rerank", json=GOOD).headers


def test_every_plain_path_is_served_directly() -> None:
    """No rerank path is forgotten but those with a parameter."""
    assert set(HANDLERS) == {route.path for route in ROUTES if "{" not in route.path}


@pytest.mark.parametrize(
    ("changes", "directly"),
    [
        ({}, True),
        ({"headers": [(b"host", b"[::1]:80")]}, True),
        ({"method": "GET"}, False),
        ({"path": "/rerank/"}, False),
        ({"root_path": "/api"}, False),
        ({"headers": [(b"host", b"a,b")]}, False),
        ({"headers": [(b"origin", b"https://a.example")]}, False),
    ],
)
def test_who_takes_the_short_way(changes: dict[str, Any], directly: bool) -> None:
    """A POST on the exact path and nothing out of the ordinary; all else is Litestar's."""
    taken: list[str] = []

    async def litestar(scope: Any, receive: Any, send: Any) -> None:
        taken.append("litestar")

    async def handler(state: State, exchange: Exchange, receive: Any) -> Answer:
        taken.append("handler")
        return Answer(b"{}", "application/json", {})

    async def send(message: Any) -> None:
        taken.append(message["type"])

    model = FakeModel()
    state = make_state(settings(cors_origins="https://a.example"), [model.served], 0, None)
    scope: Any = {"type": "http", "method": "POST", "path": "/rerank", "headers": [], "client": None, **changes}
    scope[KEY] = Exchange(scope)
    asyncio.run(Direct(litestar, state, {"/rerank": handler})(scope, None, send))  # type: ignore[arg-type]
    assert taken == (["handler", "http.response.start", "http.response.body"] if directly else ["litestar"])
    state.threads.shutdown()

"""The client for callers: what it sends, what it makes of every answer, when it tries again and when it gives up."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from collections import UserDict, UserList
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client import (
    AsyncRerankClient,
    AuthenticationError,
    InvalidRequestError,
    OverloadedError,
    RerankClient,
    RerankError,
    RerankResult,
    RerankTimeoutError,
    Retry,
    ServerError,
    UnavailableError,
)
from service.client.wire import retry_after_s

Q = "query"
D = ["a", "bbb", "cc"]
QUICK = Retry(first_s=0.001, most_s=0.002)
Script = list[httpx.Response | Exception]


def ranking(request: httpx.Request) -> httpx.Response:
    """Rank by length."""
    body = json.loads(request.content)
    lengths = [len(text) for text in body["documents"]]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    results = [{"index": index, "relevance_score": lengths[index] / 10} for index in order]
    answer = {"id": "r", "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9}, "results": results}
    return httpx.Response(200, json=answer, headers={"x-request-id": "r-1"})


def scripted(script: Script, seen: list[httpx.Request]) -> httpx.MockTransport:
    """A server that first does what the script says, then ranks."""

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        step = script.pop(0) if script else None
        if isinstance(step, Exception):
            raise step
        return ranking(request) if step is None else httpx.Response(step.status_code, headers=step.headers, content=step.content)

    return httpx.MockTransport(handle)


def blocking(script: Script, seen: list[httpx.Request], **settings: Any) -> RerankResult:
    with RerankClient("http://server", transport=scripted(script, seen), **{"retries": QUICK, **settings}) as client:
        return client.rerank(Q, D, top_n=2)


def asynchronous(script: Script, seen: list[httpx.Request], **settings: Any) -> RerankResult:
    async def run() -> RerankResult:
        async with AsyncRerankClient("http://server", transport=scripted(script, seen), **{"retries": QUICK, **settings}) as client:
            return await client.rerank(Q, D, top_n=2)

    return asyncio.run(run())


Run = Callable[..., RerankResult]
both = pytest.mark.parametrize("run", [blocking, asynchronous])


def refusal(status: int, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"detail": f"no: {status}", "message": "m", "error": "e"}, headers={"x-request-id": "r-2", **names})


@both
def test_ranking(run: Run) -> None:
    """Scores come in input order and whole, indices and results best first and cut, with the caller's own documents."""
    seen: list[httpx.Request] = []
    result = run([], seen)
    assert result.scores == [0.1, 0.3, 0.2]
    assert result.ranked_indices == [1, 2]
    assert [(item.index, item.score, item.document) for item in result.results] == [(1, 0.3, "bbb"), (2, 0.2, "cc")]
    assert (result.model, result.request_id, result.tokens, result.error) == ("m", "r-1", 9, None)
    assert str(seen[0].url) == "http://server/rerank"
    assert json.loads(seen[0].content) == {"query": Q, "documents": D, "return_documents": False}


@both
def test_what_is_sent(run: Run) -> None:
    """The key is a bearer token, the model's name goes along, and the server is told how long the caller waits."""
    seen: list[httpx.Request] = []
    run([], seen, api_key="k", model="m", timeout_s=5.0)
    assert seen[0].headers["authorization"] == "Bearer k"
    assert json.loads(seen[0].content)["model"] == "m"
    assert 4.0 < float(seen[0].headers["x-request-timeout"]) <= 5.0


def test_options() -> None:
    """Options go to the server as they are; absent ones do not."""
    seen: list[httpx.Request] = []
    with RerankClient("http://server", transport=scripted([], seen)) as client:
        client.rerank(Q, D, raw_scores=True, instruction="i", max_length=None, rank_fields=["text"])
    body = json.loads(seen[0].content)
    assert body == {"query": Q, "documents": D, "return_documents": False, "raw_scores": True, "instruction": "i", "rank_fields": ["text"]}


@both
@pytest.mark.parametrize(
    "obstacle",
    [refusal(429), refusal(503), refusal(502), refusal(504), httpx.ConnectError("refused"), httpx.ReadError(""), httpx.ReadTimeout("")],
)
def test_retries(run: Run, obstacle: httpx.Response | Exception) -> None:
    """What may pass is tried again, as often as allowed and no more."""
    seen: list[httpx.Request] = []
    assert run([obstacle] * 3, seen).ranked_indices == [1, 2]
    assert len(seen) == 4
    seen.clear()
    with pytest.raises((OverloadedError, UnavailableError, RerankTimeoutError)):
        run([obstacle] * 9, seen)
    assert len(seen) == 4
    seen.clear()
    with pytest.raises(RerankError):
        run([obstacle] * 9, seen, retries=0)
    assert len(seen) == 1


@both
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (404, InvalidRequestError),
        (413, InvalidRequestError),
        (422, InvalidRequestError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (500, ServerError),
        (302, InvalidRequestError),
    ],
)
def test_no_retry(run: Run, status: int, kind: type[RerankError]) -> None:
    """What won't pass is raised at once, with the server's words, its status and the request's id."""
    seen: list[httpx.Request] = []
    with pytest.raises(kind, match=f"no: {status}") as caught:
        run([refusal(status)] * 9, seen)
    assert len(seen) == 1
    assert (type(caught.value), caught.value.status, caught.value.request_id) == (kind, status, "r-2")


@both
def test_original_order(run: Run) -> None:
    """With on_error="original_order" any failure gives the incoming order, cut, and says why."""
    for obstacle, kind in (
        (refusal(400), InvalidRequestError),
        (refusal(503), UnavailableError),
        (httpx.ConnectError("x"), UnavailableError),
    ):
        result = run([obstacle] * 9, [], on_error="original_order")
        assert (result.ranked_indices, result.scores) == ([0, 1], [0.0, 0.0, 0.0])
        assert [item.document for item in result.results] == ["a", "bbb"]
        assert type(result.error) is kind


@both
def test_retry_after_is_waited_for(run: Run) -> None:
    """A Retry-After that fits is waited for; one that does not fit into the timeout is not."""
    seen: list[httpx.Request] = []
    started = datetime.now(UTC)
    run([refusal(429, retry_after="0.2")], seen)
    assert (datetime.now(UTC) - started).total_seconds() >= 0.2
    started = datetime.now(UTC)
    with pytest.raises(OverloadedError) as caught:
        run([refusal(429, retry_after="30")] * 9, seen, timeout_s=1.0)
    assert caught.value.retry_after_s == 30.0
    assert (datetime.now(UTC) - started).total_seconds() < 1.0


@both
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"results": [{"index": 7, "relevance_score": 1}], "model": "m", "usage": {"total_tokens": 1}}', b"\xff"]
)
def test_unreadable_answer(run: Run, content: bytes) -> None:
    """An answer that is no ranking of these documents is a ServerError."""
    with pytest.raises(ServerError, match="can't be read"):
        run([httpx.Response(200, content=content)], [])


@both
def test_unexpected_error_body(run: Run) -> None:
    """An error whose body is not ours (a proxy's page) still says something."""
    with pytest.raises(UnavailableError, match="HTTP 503: <html>"):
        run([httpx.Response(503, content=b"<html>")] * 9, [])


def test_failed_documents() -> None:
    """A document without a score is NaN in `scores`, explained in `failed`, and in no ranking."""
    answer = {
        "model": "m",
        "usage": {"total_tokens": 1},
        "results": [{"index": 1, "relevance_score": 0.5, "truncated": True}],
        "errors": [{"index": 0, "message": "score is NaN"}],
    }
    with RerankClient("http://server", transport=scripted([httpx.Response(200, json=answer)], [])) as client:
        result = client.rerank(Q, ["a", "b"])
    assert math.isnan(result.scores[0])
    assert (result.ranked_indices, result.failed, result.results[0].truncated) == ([1], {0: "score is NaN"}, True)


def test_nothing_to_rank() -> None:
    """No documents are an empty ranking, and no call."""
    seen: list[httpx.Request] = []
    with RerankClient("http://server", transport=scripted([], seen)) as client:
        result = client.rerank(Q, [])
    assert (result.scores, result.ranked_indices, result.results, result.error, seen) == ([], [], [], None, [])


def test_wrong_use() -> None:
    """What can only be a programmer's mistake is a ValueError, whatever on_error says."""
    with pytest.raises(ValueError, match="on_error"):
        RerankClient(on_error="ignore")  # type: ignore[arg-type]
    with RerankClient(on_error="original_order") as client, pytest.raises(ValueError, match="top_n"):
        client.rerank(Q, D, top_n=-1)
    with RerankClient(on_error="original_order") as client, pytest.raises(ValueError, match="one text"):
        client.rerank(Q, "lone")


def test_documents_of_any_kind() -> None:
    """Whatever is a sequence of texts and mappings is sent as JSON has it."""
    seen: list[httpx.Request] = []
    with RerankClient("http://server", transport=scripted([], seen)) as client:
        client.rerank(Q, UserList(["a", MappingProxyType({"text": "bbb"}), UserDict({"text": "cc"})]))
        with pytest.raises(TypeError, match="object"):
            client.rerank(Q, [{"text": object()}])
    assert json.loads(seen[0].content)["documents"] == ["a", {"text": "bbb"}, {"text": "cc"}]


@given(st.integers(1, 10), st.floats(0, 0.999), st.none() | st.floats(0, 100), st.floats(0, 100))
def test_waits(tried: int, chance: float, asked: float | None, left: float) -> None:
    """A wait never leaves the timeout, never falls short of Retry-After, and grows no further than the cap."""
    policy = Retry()
    wait = policy.wait_s(tried, OverloadedError("m", retry_after_s=asked), left, chance)
    if tried > policy.retries:
        assert wait is None
    elif wait is not None:
        assert (asked or 0.0) <= wait < left
        assert wait - (asked or 0.0) <= min(policy.most_s, policy.first_s * 2 ** (tried - 1)) + 1e-9


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Thu, 01 Jan 2026 00:00:10 GMT", 10.0),
        ("Thu, 01 Jan 2025 00:00:10 GMT", 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """Retry-After is read as seconds or as a date."""
    assert retry_after_s(value, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


def test_light_import() -> None:
    """Importing the client imports httpx and msgspec, nothing of the engine, and no numpy or Litestar."""
    code = "import sys, service.client; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert {"httpx", "msgspec"} <= loaded
    # httpx's own command line brings rich where it is installed.
    ours = {"batching", "litestar", "numpy", "prometheus_client", "tokenizers", "torch", "transformers", "granian", "dotenv"}
    assert not loaded & ours

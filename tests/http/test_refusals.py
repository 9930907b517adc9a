"""What a call that can't be answered gets: the right status, a string that says why, and nothing left behind."""

from __future__ import annotations

import gzip
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batching import errors
from tests.http.conftest import Client, Start
from tests.http.fakes import FakeModel, worker

GOOD = {"query": "a", "documents": ["b"], "model": "m"}

MALFORMED: list[tuple[bytes, int, str]] = [
    (b"", 400, "body"),
    (b"{", 400, "body"),
    (b"[]", 400, "body"),
    (b"null", 400, "body"),
    (b'"text"', 400, "body"),
    (b"\xff\xfe", 400, "body"),
    (b'{"query": "\xff", "documents": ["b"]}', 400, "body"),
    (b'{"query": NaN, "documents": ["b"]}', 400, "body"),
    (b'{"query": "a", "documents": ["b"], "top_n": Infinity}', 400, "body"),
    (b"[" * 100_000, 400, "body"),
    (b'{"query": "a", "documents": ["b"], "top_n": 1e400, "model": "m"}', 400, "body"),
    (b'{"documents": ["b"]}', 400, "query"),
    (b'{"query": "  ", "documents": ["b"], "model": "m"}', 400, "query"),
    (b'{"query": 1, "documents": ["b"], "model": "m"}', 400, "query"),
    (b'{"query": "a"}', 400, "documents"),
    (b'{"query": "a", "documents": [], "model": "m"}', 400, "documents"),
    (b'{"query": "a", "documents": 5, "model": "m"}', 400, "documents"),
    (b'{"query": "a", "documents": [1], "model": "m"}', 400, "documents[0]"),
    (b'{"query": "a", "documents": ["b", null], "model": "m"}', 400, "documents[1]"),
    (b'{"query": "a", "documents": [{"image": "x"}], "model": "m"}', 400, "documents[0]"),
    (b'{"query": "a", "documents": ["b"], "top_n": -1, "model": "m"}', 400, "top_n"),
    (b'{"query": "a", "documents": ["b"], "top_n": "x", "model": "m"}', 400, "top_n"),
    (b'{"query": "a", "documents": ["b"], "max_length": 129, "model": "m"}', 400, "max_length"),
    (b'{"query": "a", "documents": ["b"], "max_length": 99999999999999999999999, "model": "m"}', 400, "max_length"),
]


@pytest.mark.parametrize(("body", "status", "named"), MALFORMED)
def test_a_malformed_body_is_refused_by_name(client: Client, model: FakeModel, body: bytes, status: int, named: str) -> None:
    """400 with a string `detail` that names the part; nothing is tokenized or admitted."""
    answer = client.post("/rerank", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["detail"], str)
    assert named.split("[")[0] in answer.json()["detail"].lower()
    assert model.client.scored == model.encoder.calls == []
    assert model.client.reserved == 0


def test_limits_name_their_settings(start: Start, model: FakeModel) -> None:
    """Too many documents and too large a body are 413 and name the setting; an announced length is enough."""
    client = start(max_documents="3", max_body_bytes="2000")
    many = client.post("/rerank", json={**GOOD, "documents": ["b"] * 4})
    large = client.post("/rerank", content=b" " * 2001)
    streamed = client.post("/rerank", content=(b" " * 500 for _ in range(5)))
    assert [answer.status_code for answer in (many, large, streamed)] == [413] * 3
    assert "RERANKER_MAX_DOCUMENTS" in many.json()["detail"]
    assert "RERANKER_MAX_BODY_BYTES" in large.json()["detail"] == streamed.json()["detail"]
    assert client.post("/rerank", json={**GOOD, "documents": ["b"] * 3}).status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (errors.Overloaded("the queue is full", 2.3), 429, "3"),
        (errors.TooLarge("more than the queue holds (RERANKER_QUEUE_TOKENS)"), 413, None),
        (errors.Unavailable("the model is still loading", 0.2), 503, "1"),
        (errors.Expired("too late"), 504, None),
        (errors.WorkerLost("crashed twice"), 500, None),
        (errors.ScoringFailed("the worker failed"), 500, None),
        (errors.InvalidRequest("query: too long", "query"), 400, None),
    ],
)
@pytest.mark.parametrize("where", ["reserve", "encode", "score"])
def test_every_failure_has_its_status_and_releases_its_tokens(
    client: Client, model: FakeModel, error: Exception, status: int, retry: str | None, where: str
) -> None:
    """The same map whichever step fails, Retry-After where waiting helps, no reservation left."""
    if where == "reserve":
        model.client.error = error
    elif where == "encode":
        model.encoder.error = error
    else:
        model.client.score_error = error
    answer = client.post("/rerank", json=GOOD)
    assert answer.status_code == status
    assert answer.json()["detail"] == str(error)
    assert answer.headers.get("retry-after") == retry
    assert model.client.reserved == 0


def test_an_unforeseen_error_keeps_its_text_to_itself(client: Client, model: FakeModel) -> None:
    """500 without the error's text, which is in the log only, and the service goes on."""
    model.encoder.error = RuntimeError("the secret is 42")
    answer = client.post("/rerank", json=GOOD)
    assert answer.status_code == 500
    assert "42" not in answer.text
    assert model.client.reserved == 0
    model.encoder.error = None
    assert client.post("/rerank", json=GOOD).status_code == 200


def test_deadlines(start: Start, model: FakeModel) -> None:
    """X-Request-Timeout is kept and capped by the setting; nonsense in it is 400."""
    model.client.takes_s = 5.0
    client = start(request_timeout="0.2")
    for headers in ({}, {"X-Request-Timeout": "0.05"}, {"X-Request-Timeout": "100"}, {"X-Request-Timeout": "inf"}):
        began = time.monotonic()
        answer = client.post("/rerank", json=GOOD, headers=headers)
        assert answer.status_code == 504
        assert time.monotonic() - began < 2.0
    for text in ("", "x", "0", "-1", "nan", "1,2"):
        answer = client.post("/rerank", json=GOOD, headers={"X-Request-Timeout": text})
        assert answer.status_code == 400, text
        assert "X-Request-Timeout" in answer.json()["detail"]
    assert model.client.reserved == 0


def test_no_handler(client: Client) -> None:
    """404 and 405 are JSON with a string detail too; 405 says what is allowed."""
    missing, wrong = client.post("/nope", json={}), client.get("/rerank")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert "POST" in wrong.headers["allow"]
    assert missing.json()["detail"] == "path: '/nope' is not served here; /docs says which are"
    assert wrong.json()["detail"] == f"method: GET is not allowed on '/rerank', only {wrong.headers['allow']}"
    assert len(client.get("/" + "x" * 5000).json()["detail"]) < 200
    for answer in (missing, wrong):
        assert isinstance(answer.json()["detail"], str)
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, gzip"])
def test_a_compressed_body_is_refused(client: Client, coding: str) -> None:
    """415 that names the header, and not 400 for JSON that the caller never wrote; `identity` is no compression."""
    for path in ("/rerank", "/rerank/", "/tokenize"):
        answer = client.post(path, content=gzip.compress(b"{}"), headers={"Content-Encoding": coding})
        told = answer.json().get("detail") or answer.json()["error"]
        assert (answer.status_code, told) == (
            415,
            f"Content-Encoding: bodies are read as they are, without compression; got {coding!r}",
        )
    assert 'rerankd_requests_total{dialect="common",status="415"} 2.0' in client.get("/metrics").text
    assert client.post("/rerank", json=GOOD, headers={"Content-Encoding": "identity"}).status_code == 200


def test_a_query_too_long_without_truncation(client: Client) -> None:
    """truncate=false refuses what would be cut."""
    answer = client.post("/rerank", json={**GOOD, "documents": ["w " * 500], "truncate": False})
    assert answer.status_code == 400
    assert "documents[0]" in answer.json()["detail"]


def test_errors_speak_the_callers_dialect(client: Client, model: FakeModel) -> None:
    """TEI's clients get TEI's statuses and error object."""
    tei = client.post("/rerank", json={"query": "a", "texts": [1]})
    assert tei.status_code == 422
    assert tei.json().keys() == {"error", "error_type"}
    model.client.score_error = errors.ScoringFailed("no")
    assert client.post("/predict", json={"inputs": ["a", "b"]}).status_code == 424


@pytest.mark.parametrize("path", ["/score", "/v1/score", "/predict", "/vertex", "/tokenize", "/v1/ranking", "/rerank"])
def test_slashes_change_no_error(client: Client, path: str) -> None:
    """A slash too many is forgiven, so what is refused is refused alike: status, body and dialect in the metrics."""
    asked = {"query": 5, "inputs": 5, "instances": 5}
    expected = client.post(path, json=asked)
    for other in (f"{path}/", f"/{path}", f"{path}//"):
        url = f"http://testserver.local{other}"
        assert (client.post(url, json=asked).status_code, client.post(url, json=asked).json()) == (expected.status_code, expected.json())
        assert client.put(url).json().keys() == client.put(path).json().keys()
    told = [line for line in client.get("/metrics").text.splitlines() if line.startswith("rerankd_requests_total{")]
    assert [line.rpartition(" ")[2] for line in told if not line.endswith(" 0.0")] == ["7.0"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
_FIELDS = ["query", "documents", "texts", "pairs", "passages", "input", "candidates", "top_n", "top_k", "model", "return_documents", "truncate",
           "max_length", "rank_fields", "parameters", "priority", "chunk_overlap", "max_chunks", "long_documents", "queries", "text_1", "text_2"]  # fmt: skip


@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    path=st.sampled_from(["/rerank", "/v1/rerank", "/v1/reranking", "/v1/ranking", "/score", "/predict", "/api/v1/rerank", "/tokenize"]),
    body=st.dictionaries(st.sampled_from(_FIELDS), _JSON | st.just("text") | st.just(["text"]), max_size=6),
)
def test_no_body_makes_a_5xx(client: Client, path: str, body: dict[str, Any]) -> None:
    """Whatever JSON a caller sends, the answer is a ranking or a refusal, never a failure of ours."""
    answer = client.post(path, json=body)
    assert answer.status_code < 500, (path, body, answer.text)
    answer.json()


def test_reasons_are_counted(client: Client, model: FakeModel) -> None:
    """Each refusal is counted under its reason, and under dialect and status."""
    model.client.error = errors.Overloaded("full")
    client.post("/rerank", json=GOOD)
    client.post("/rerank", content=b"{")
    text = client.get("/metrics").text
    assert 'rerankd_rejections_total{reason="overloaded"} 1.0' in text
    assert 'rerankd_rejections_total{reason="invalid"} 1.0' in text
    assert 'rerankd_requests_total{dialect="common",status="429"} 1.0' in text


def test_not_ready_is_said_before_work(client: Client, model: FakeModel) -> None:
    """Readiness is false while the only worker starts."""
    model.client.workers = [worker(state="starting")]
    assert client.get("/health/ready").status_code == 503


LONG = "word " * 200
OFF = {"truncate": False}
TOO_LONG: list[tuple[str, dict[str, Any], str]] = [
    ("/rerank", {"query": "a", "documents": ["b", LONG], "model": "m", **OFF}, "documents[1]"),
    ("/rerank", {"query": "a", "documents": ["b", "b", "c", "b", LONG, LONG], "model": "m", **OFF}, "documents[4]"),
    ("/rerank", {"query": "a", "texts": ["b", LONG], **OFF}, "texts[1]"),
    ("/v1/reranking", {"query": "a", "texts": ["b", LONG], **OFF}, "texts[1]"),
    ("/vertex", {"instances": [{"query": "a", "texts": ["b"]}, {"query": "a", "texts": ["b", LONG], **OFF}]}, "instances[1].texts[1]"),
    ("/predict", {"inputs": [["a", "b"], ["c", "d"], ["a", LONG]], **OFF}, "inputs[2][1]"),
    ("/predict", {"inputs": ["a", LONG], **OFF}, "inputs[1]"),
    ("/v1/ranking", {"query": {"text": "a"}, "passages": [{"text": "b"}, {"text": LONG}], "truncate": "NONE"}, "passages[1]"),
    ("/rerank/query", {"query": "a", "passages": ["b", LONG], **OFF}, "passages[1]"),
    ("/v1/reranking", {"query": "a", "input": ["b", LONG], "model": "m", **OFF}, "input[1]"),
    ("/score", {"text_1": "a", "text_2": ["b", LONG], "model": "m", **OFF}, "text_2[1]"),
    ("/score", {"text_1": "a", "text_2": LONG, "model": "m", **OFF}, "text_2"),
    (
        "/api/v1/services/rerank/text-rerank/text-rerank",
        {"model": "m", "input": {"query": "a", "documents": ["b", LONG]}, "parameters": OFF},
        "input.documents[1]",
    ),
]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/rerank", {**GOOD, "max_length": 1000}, "max_length"),
        ("/v1/rerank", {**GOOD, "truncate_prompt_tokens": 1000}, "truncate_prompt_tokens"),
        ("/score", {"text_1": "a", "text_2": "b", "truncate_prompt_tokens": 1000}, "truncate_prompt_tokens"),
        ("/rerank", {"input": {"query": "a", "documents": ["b"]}, "parameters": {"max_length": 1000}}, "parameters.max_length"),
        ("/vertex", {"instances": [{"query": "a", "texts": ["b"], "max_length": 1000}]}, "instances[0].max_length"),
    ],
)
def test_a_length_over_the_limit(start: Start, path: str, body: dict[str, Any], named: str) -> None:
    """It is named as it was sent, and with what limits it: the setting, or the model where that takes less."""
    for setting, limit in (("100", "100 tokens (RERANKER_MAX_LENGTH)"), ("512", "128 tokens (org/fake-model's own)")):
        told = start(max_length=setting).post(path, json=body).json()
        text = told.get("detail") or told.get("error") or told["message"]
        assert (text["message"] if isinstance(text, dict) else text) == f"{named}: 1000 is over the limit of {limit}"


def test_a_lone_text_has_no_number(client: Client) -> None:
    """An empty side of /score is named as it came."""
    for side, named in (("", "text_1"), ([""], "text_1[0]"), ({"content": [{"text": ""}]}, "text_1.content[0]")):
        told = client.post("/score", json={"text_1": side, "text_2": "b"}).json()
        assert told["error"]["message"].startswith(f"{named}: must not be empty")


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/rerank", {"query": "a", "documents": [LONG], "model": "m", "overlap_tokens": 1000}, "overlap_tokens"),
        ("/rerank", {"query": "a", "documents": [LONG], "long_documents": "chunk", "chunk_overlap": 1000}, "chunk_overlap"),
        ("/rerank", {"input": {"query": "a", "documents": [LONG]}, "parameters": {"overlap_tokens": 1000}}, "parameters.overlap_tokens"),
        ("/vertex", {"instances": [{"query": "a", "texts": [LONG], "overlap_tokens": 1000}]}, "instances[0].overlap_tokens"),
    ],
)
def test_windows_that_hardly_go_forward_are_refused(client: Client, model: FakeModel, path: str, body: dict[str, Any], named: str) -> None:
    """An overlap of more than half a window is named as it was sent, with value and limit; nothing stays reserved."""
    answer = client.post(path, json=body)
    assert answer.status_code in (400, 422), answer.text
    told = answer.json()
    assert (told.get("detail") or told.get("error") or told["message"]).startswith(f"{named}: 1000 is over the limit of 63 tokens"), told
    assert model.client.reserved == 0


def test_windows_of_more_tokens_than_the_queue_holds(start: Start, model: FakeModel) -> None:
    """They are 413 and name the setting, whatever was reckoned before, and nothing stays reserved."""
    client = start(queue_tokens="1024")
    answer = client.post("/rerank", json={**GOOD, "documents": ["w " * 1000], "long_documents": "chunk"})
    assert answer.status_code == 413
    assert "RERANKER_QUEUE_TOKENS" in answer.json()["detail"]
    assert model.client.reserved == 0


@pytest.mark.parametrize(("path", "body", "named"), TOO_LONG, ids=[f"{path} {named}" for path, _, named in TOO_LONG])
def test_what_is_too_long_is_called_as_the_caller_called_it(client: Client, path: str, body: dict[str, Any], named: str) -> None:
    """With truncation off, the refusal begins with the field that was sent: repeats and pairs of several queries counted as they came."""
    answer = client.post(path, json=body)
    assert answer.status_code in (400, 422, 413), answer.text
    told = answer.json()
    text = told.get("detail") or told.get("error") or told.get("message")
    assert (text["message"] if isinstance(text, dict) else text).startswith(f"{named} is too long"), told

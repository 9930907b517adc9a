"""Which dialect a call is taken for: the body decides, the path and the headers only break ties."""

from __future__ import annotations

from typing import Any

import pytest

from batching.errors import InvalidRequest
from service.dialects import table
from service.dialects.body import parse
from tests.unit.dialects.wire import exchange

Q = "query"
D = ["one document", "another"]
OBJECTS = [{"text": "one document"}, {"text": "another"}]
ITEMS = [{"id": 1, "text": "one document"}, {"id": "b", "text": "another"}]
PINECONE = {"x-pinecone-api-version": "2026-07", "api-key": "k"}

CASES: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    # 1: texts
    ("tei", "/rerank", {"query": Q, "texts": D}, {}),
    ("tei", "/", {"query": Q, "texts": D}, {}),
    ("tei", "/invocations", {"query": Q, "texts": D}, {}),
    ("tei", "/v1/rerank", {"query": Q, "texts": D, "model": "m"}, {}),
    ("tei", "/rerank", {"query": Q, "texts": D, "top_n": 1, "model": "m", "return_text": True}, {"user-agent": "litellm/1.80"}),
    ("tei", "/rerank", {"query": Q, "texts": D, "documents": None, "return_documents": None}, {}),
    ("texts", "/reranking", {"query": Q, "texts": D}, {}),
    ("texts", "/v1/reranking", {"query": Q, "texts": D}, {}),
    ("texts", "/rerank", {"query": Q, "texts": D, "return_texts": True}, {}),
    ("texts", "/rerank", {"query": Q, "texts": D, "top_k": None}, {}),
    ("texts", "/rerank", {"query": Q, "texts": D, "return_documents": False}, {}),
    ("texts", "/rerank", {"query": Q, "texts": D, "prefer_device": "cpu"}, {}),
    # 2 to 4
    ("pairs", "/rerank/batch", {"pairs": [{"query": Q, "passage": D[0]}]}, {}),
    ("pairs", "/rerank", {"pairs": [{"query": Q, "passage": D[0]}]}, {}),
    ("pair", "/rerank", {"query": Q, "passage": D[0]}, {}),
    ("librechat", "/v1/rerank", {"query": Q, "candidates": ITEMS, "top_n": 1}, {}),
    # 5, 6
    ("nim", "/v1/ranking", {"query": {"text": Q}, "passages": OBJECTS}, {}),
    ("nim", "/v1/retrieval/nvidia/reranking", {"query": {"text": Q}, "passages": OBJECTS}, {}),
    ("nim", "/reranking", {"query": {"text": Q}, "passages": OBJECTS, "top_n": 1}, {}),
    ("nim", "/ranking", {"query": {"text": Q}, "passages": OBJECTS}, {}),
    ("passages", "/rerank/query", {"query": Q, "passages": D}, {}),
    ("passages", "/rerank", {"query": Q, "passages": D}, {}),
    # 7, 8
    ("dashscope", "/api/v1/services/rerank/text-rerank/text-rerank", {"model": "m", "input": {"query": Q, "documents": D}}, {}),
    ("dashscope", "/rerank", {"model": "m", "input": {"query": Q, "documents": D}}, {}),
    ("mixedbread", "/v1/reranking", {"query": Q, "input": D}, {}),
    ("mixedbread", "/rerank", {"query": Q, "input": D}, {}),
    # 9
    ("vllm_score", "/score", {"text_1": Q, "text_2": D}, {}),
    ("vllm_score", "/v1/score", {"queries": Q, "documents": D}, {}),
    ("deepinfra", "/v1/inference/Qwen/Qwen3-Reranker-0.6B", {"queries": [Q, Q], "documents": D}, {}),
    ("deepinfra", "/inference/m", {"queries": [Q], "documents": D}, {}),
    ("tei_predict", "/predict", {"inputs": [[Q, D[0]]]}, {}),
    ("tei_vertex", "/vertex", {"instances": [{"query": Q, "texts": D}]}, {}),
    # 10
    ("pinecone", "/rerank", {"model": "m", "query": Q, "documents": OBJECTS}, PINECONE),
    ("pinecone", "/rerank", {"query": Q, "documents": OBJECTS}, {"api-key": "k"}),
    ("pinecone", "/rerank", {"query": Q, "documents": D}, PINECONE),
    ("plain", "/rerank", {"query": Q, "documents": D}, {"api-key": "k"}),
    ("common", "/rerank", {"query": Q, "documents": D, "model": "m"}, {"api-key": "k"}),
    ("pinecone", "/v1/rerank", {"query": Q, "documents": OBJECTS}, PINECONE),
    ("common", "/v1/rerank", {"query": Q, "documents": OBJECTS}, {"api-key": "k"}),
    ("items", "/api/v1/rerank", {"query": Q, "documents": ITEMS}, {}),
    ("items", "/api/v1/rerank", {"query": Q, "documents": []}, {}),
    ("common", "/api/v1/rerank", {"query": Q, "documents": ITEMS, "model": "m"}, {}),
    ("common", "/api/v1/rerank", {"query": Q, "documents": OBJECTS}, {}),
    ("common", "/api/v1/rerank", {"query": Q, "documents": D}, {}),
    ("common", "/v1/rerank", {"query": Q, "documents": ITEMS}, {}),
    ("voyage", "/v1/rerank", {"query": Q, "documents": D, "model": "m", "top_k": None, "truncation": True}, {}),
    ("voyage", "/v1/rerank", {"query": Q, "documents": D, "top_k": 1}, {}),
    ("voyage", "/rerank", {"query": Q, "documents": D, "truncation": None}, {}),
    ("plain", "/rerank", {"query": Q, "documents": D}, {}),
    ("plain", "/rerank/", {"query": Q, "documents": D, "top_n": 1}, {}),
    ("plain", "/rerank", {"query": Q, "documents": D, "model": None, "return_documents": None}, {}),
    ("common", "/rerank", {"query": Q, "documents": D, "model": "m"}, {}),
    ("common", "/rerank", {"query": Q, "documents": D, "return_documents": False}, {}),
    ("common", "/v1/rerank", {"query": Q, "documents": D}, {}),
    ("common", "/v2/rerank", {"query": Q, "documents": D}, {}),
    ("common", "/rerank/v1", {"query": Q, "documents": D}, {}),
    ("common", "/reranks", {"query": Q, "documents": D, "model": "m"}, {}),
    ("common", "/v1/reranking", {"query": Q, "documents": D, "model": "m"}, {}),
]


@pytest.mark.parametrize(("dialect", "path", "body", "headers"), CASES)
def test_choice(dialect: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    """Each body shape goes to its dialect, on every path where nothing else decides, and gets an answer."""
    assert exchange(path, body, headers).dialect == dialect


@pytest.mark.parametrize(("dialect", "path", "body", "headers"), CASES)
def test_slashes_change_nothing(dialect: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    """A slash at the end or one too many leads to the same handler, so it gets the same dialect, before and after the body is read."""
    expected = exchange(path, body, headers)
    for other in (f"{path}/", f"/{path}", path.replace("/", "//") + "//"):
        found = exchange(other, body, headers)
        assert (found.dialect, found.requests, found.answer) == (dialect, expected.requests, expected.answer), other
        assert table.call(other, headers).dialect == table.call(path, headers).dialect


def test_every_fixed_path_has_a_case() -> None:
    """Those that only one kind of client calls, slashes or not."""
    assert {path for _, path, _, _ in CASES} >= table.FIXED


def test_every_dialect_is_chosen_somewhere() -> None:
    """The cases above leave no dialect out, and no two dialects share a name."""
    names = [dialect.name for dialect in table.DIALECTS]
    assert len(names) == len(set(names))
    assert {case[0] for case in CASES} == set(names)


def test_routes_hold_what_cases_show() -> None:
    """Every path that the cases post to is a served path; every served path suggests a dialect that exists."""
    names = {dialect.name for dialect in table.DIALECTS} | {table.TOKENIZE}
    for route in table.ROUTES:
        assert set(route.dialects) <= names
        assert table.dialect_of(route.prefix + "x" if "{" in route.path else route.path) == route.dialect
    for dialect, path, _, _ in CASES:
        served = [
            route
            for route in table.ROUTES
            if route.path == (path.rstrip("/") or "/") or ("{" in route.path and path.startswith(route.prefix))
        ]
        assert served, path
        assert dialect in served[0].dialects


@pytest.mark.parametrize(
    ("path", "dialect", "shape"),
    [
        ("/rerank", "common", "common"),
        ("/v1/score", "vllm_score", "openai"),
        ("/predict", "tei_predict", "tei"),
        ("/tokenize", "tei_tokenize", "tei"),
        ("/api/v1/services/rerank/text-rerank/text-rerank", "dashscope", "dashscope"),
        ("/v1/inference/a/b", "deepinfra", "common"),
        ("/nowhere", "common", "common"),
    ],
)
def test_before_the_body_is_read(path: str, dialect: str, shape: str) -> None:
    """An error that comes before the body is worded in the dialect that the path suggests."""
    found = table.call(path, {})
    assert (found.dialect, table.error_shape(found.dialect)) == (dialect, shape)


def test_texts_and_documents() -> None:
    """A body that says both ways what is to be ranked is refused, not guessed at."""
    with pytest.raises(InvalidRequest, match="texts or documents"):
        exchange("/rerank", {"query": Q, "texts": D, "documents": D})


def test_nothing_to_rank_falls_back_to_the_path() -> None:
    """A body that names nothing to rank is the path's own dialect, whose error names the field that its clients know."""
    for path, field in (
        ("/v1/ranking", "passages"),
        ("/rerank/batch", "pairs"),
        ("/v1/rerank", "documents"),
        ("/invocations", "texts"),
        ("/v1/reranking", "input"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            exchange(path, {"query": {"text": Q} if field == "passages" else Q})
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("headers", "packed_in", "packed"),
    [
        ({}, False, False),
        ({"content-type": "application/json", "accept": "*/*"}, False, False),
        ({"content-type": "application/msgpack"}, True, True),
        ({"content-type": "application/x-msgpack; v=1", "accept": "*/*"}, True, True),
        ({"content-type": "application/msgpack", "accept": "application/json"}, True, False),
        ({"content-type": "application/json", "accept": "application/msgpack"}, False, True),
    ],
)
def test_formats(headers: dict[str, str], packed_in: bool, packed: bool) -> None:
    """Content-Type says what the body is; the answer follows Accept, and the body's format where Accept names none."""
    found = table.call("/rerank", headers)
    assert (found.packed_in, found.packed) == (packed_in, packed)
    assert parse(b"\x80" if packed_in else b"{}", found.packed_in).query is None


@pytest.mark.parametrize(
    ("sent", "query"),
    [
        (b'\xef\xbb\xbf{"query":"a"}', "a"),
        (rb'{"query":"a\ud83e"}', "a\ufffd"),
        (rb'{"query":"\udda6b"}', "\ufffdb"),
        (rb'{"query":"\uD83E\uD83E\uDDA6\uDDA6"}', "\ufffd\U0001f9a6\ufffd"),
        (rb'{"query":"\\ud83e\\\ud83e"}', "\\ud83e\\\ufffd"),
        (rb'{"query":"\ud83e\udda6"}', "\U0001f9a6"),
    ],
)
def test_nearly_json(sent: bytes, query: str) -> None:
    """A byte order mark is read over; half of a character, which JavaScript sends where it cut a text within an emoji, becomes U+FFFD."""
    assert parse(sent, False).query == query

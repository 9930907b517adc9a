"""Every field of every dialect, wrong: InvalidRequest naming the field, and a body that no client chokes on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batching.errors import InvalidRequest, TooLarge
from service.dialects import table
from service.dialects.body import DEEPEST
from service.dialects.errors import error_body
from service.dialects.nouns import Answer, Decoded
from tests.unit.dialects.wire import exchange

Q = "query"
D = ["one", "two"]
OBJECTS = [{"text": "one"}, {"text": "two"}]

STRING, NUMBER, FLAG, LIST, OBJECT = "a string", 5, True, ["x"], {"x": 1}
NOT_TEXT: list[Any] = [NUMBER, FLAG, LIST, 1.5]
NOT_FLAG: list[Any] = [NUMBER, "maybe", LIST, OBJECT, 0]
NOT_WHOLE: list[Any] = ["3", 1.5, FLAG, LIST, OBJECT, 2**31, 10**30, -2]
NOT_MOST: list[Any] = ["3", 1.5, FLAG, LIST, OBJECT, -2]
NOT_LIST: list[Any] = [STRING, NUMBER, FLAG]

COMMON_OPTIONS: dict[str, list[Any]] = {
    "model": [*NOT_TEXT, OBJECT],
    "top_n": NOT_MOST,
    "return_documents": NOT_FLAG,
    "return_windows": NOT_FLAG,
    "raw_scores": NOT_FLAG,
    "use_activation": NOT_FLAG,
    "instruction": [*NOT_TEXT, OBJECT],
    "instruct": [*NOT_TEXT, OBJECT],
    "priority": NOT_WHOLE,
    "max_length": [0, *NOT_WHOLE],
    "truncate_prompt_tokens": NOT_WHOLE,
    "max_tokens_per_doc": NOT_WHOLE,
    "truncate": [NUMBER, "MIDDLE", LIST, OBJECT],
    "truncation_side": ["middle", NUMBER, LIST],
    "truncation_direction": ["middle", NUMBER, LIST],
    "long_documents": ["drop", NUMBER, LIST],
    "chunk_overlap": NOT_WHOLE,
    "max_chunks": [0, *NOT_WHOLE],
    "max_chunks_per_doc": [0, *NOT_WHOLE],
    "overlap_tokens": NOT_WHOLE,
}
QUERY: list[Any] = [None, "", " \n", *NOT_TEXT, {"content": [{"text": " "}]}, {"content": ["x"]}, {}, {"text": 5}]
DOCUMENTS: list[Any] = [None, [], *NOT_LIST, OBJECT, [5], [None], [["x"]], ["x", {}], [{"text": 5}], [{"image": "data:"}]]
TEXTS: list[Any] = [[], *NOT_LIST, OBJECT, [5], [None], ["x", {"text": "x"}]]
DOCUMENTS_OR_ONE: list[Any] = [
    *(value for value in DOCUMENTS if value != STRING),
    {"content": []},
    {"content": ["x"]},
    {"content": [{"type": "text"}]},
    [{"content": []}],
    [{"content": [{"type": "text", "text": 5}]}],
]
RANK_FIELDS: list[Any] = [STRING, NUMBER, [5], ["absent"]]

# dialect, path, headers, a right body, wrong values by field
SHEET: list[tuple[str, str, dict[str, str], dict[str, Any], dict[str, list[Any]]]] = [
    (
        "common",
        "/v1/rerank",
        {},
        {"query": Q, "documents": OBJECTS, "model": "m"},
        {"query": QUERY, "documents": DOCUMENTS_OR_ONE, "rank_fields": RANK_FIELDS, **COMMON_OPTIONS},
    ),
    (
        "plain",
        "/rerank",
        {},
        {"query": Q, "documents": OBJECTS},
        {
            "query": QUERY,
            "documents": DOCUMENTS_OR_ONE,
            "rank_fields": RANK_FIELDS,
            **{name: values for name, values in COMMON_OPTIONS.items() if name not in ("model", "return_documents")},
        },
    ),
    (
        "voyage",
        "/v1/rerank",
        {},
        {"query": Q, "documents": D, "model": "m", "top_k": 1, "truncation": True},
        {
            "query": QUERY,
            "documents": DOCUMENTS_OR_ONE,
            "top_k": NOT_MOST,
            "truncation": NOT_FLAG,
            "return_documents": NOT_FLAG,
            "model": NOT_TEXT,
        },
    ),
    (
        "tei",
        "/rerank",
        {},
        {"query": Q, "texts": D},
        {
            "query": QUERY,
            "texts": TEXTS,
            "truncate": [NUMBER, "maybe", LIST],
            "truncation_direction": ["middle", NUMBER],
            "raw_scores": NOT_FLAG,
            "return_text": NOT_FLAG,
        },
    ),
    (
        "tei_predict",
        "/predict",
        {},
        {"inputs": [[Q, "one"]]},
        {
            "inputs": [None, [], *NOT_LIST, ["x"], ["x", "y", "z"], [["x"]], [["x", 5]], [[5, "x"]], [["", "x"]], [["a", "b"], "c"]],
            "raw_scores": NOT_FLAG,
            "truncate": [NUMBER],
        },
    ),
    (
        "tei_vertex",
        "/vertex",
        {},
        {"instances": [{"query": Q, "texts": D}]},
        {"instances": [None, [], *NOT_LIST, [5], [{}], [{"query": Q, "texts": []}], [{"query": 5, "texts": D}]]},
    ),
    (
        "texts",
        "/v1/reranking",
        {},
        {"query": Q, "texts": D},
        {
            "query": QUERY,
            "texts": TEXTS,
            "top_k": NOT_MOST,
            "top_n": NOT_MOST,
            "return_texts": NOT_FLAG,
            "return_documents": NOT_FLAG,
            "truncate": [NUMBER],
            "model": NOT_TEXT,
        },
    ),
    ("pair", "/rerank", {}, {"query": Q, "passage": "one"}, {"query": QUERY, "passage": ["", *NOT_TEXT], "normalize": NOT_FLAG}),
    (
        "pairs",
        "/rerank/batch",
        {},
        {"pairs": [{"query": Q, "passage": "one"}]},
        {
            "pairs": [None, [], *NOT_LIST, [5], [{}], [{"query": Q}], [{"passage": "x"}], [{"query": "", "passage": "x"}]],
            "normalize": NOT_FLAG,
        },
    ),
    (
        "passages",
        "/rerank/query",
        {},
        {"query": Q, "passages": D},
        {
            "query": [value for value in QUERY if not isinstance(value, dict)],
            "passages": [None, *TEXTS],
            "normalize": NOT_FLAG,
            "top_n": NOT_MOST,
        },
    ),
    (
        "librechat",
        "/v1/rerank",
        {},
        {"query": Q, "candidates": OBJECTS},
        {"query": QUERY, "candidates": [[], *NOT_LIST, OBJECT, [5], [{}], [{"text": 5}]], "top_n": NOT_MOST},
    ),
    (
        "nim",
        "/v1/ranking",
        {},
        {"model": "m", "query": {"text": Q}, "passages": OBJECTS},
        {
            "query": QUERY,
            "passages": [None, [], *NOT_LIST, ["x"], [{}], [{"text": None}], [{"image": "data:image/png;base64,"}]],
            "truncate": ["MIDDLE", NUMBER],
            "top_n": NOT_MOST,
            "top_k": NOT_MOST,
            "model": NOT_TEXT,
        },
    ),
    (
        "dashscope",
        "/api/v1/services/rerank/text-rerank/text-rerank",
        {},
        {"model": "m", "input": {"query": Q, "documents": D}, "parameters": {}},
        {
            "input": [*NOT_LIST, D, {}, {"query": Q}, {"query": Q, "documents": []}, {"query": 5, "documents": D}, {"documents": D}],
            "parameters": [STRING, NUMBER, {"top_n": "x"}, {"return_documents": 5}, {"instruct": 5}],
            "model": NOT_TEXT,
        },
    ),
    (
        "mixedbread",
        "/v1/reranking",
        {},
        {"query": Q, "input": OBJECTS},
        {
            "query": QUERY,
            "input": [None, [], *NOT_LIST, [5], [{}]],
            "top_k": NOT_MOST,
            "return_input": NOT_FLAG,
            "rank_fields": RANK_FIELDS,
            "model": NOT_TEXT,
        },
    ),
    (
        "vllm_score",
        "/v1/score",
        {},
        {"text_1": Q, "text_2": D},
        {
            "text_1": [
                None,
                "",
                [],
                NUMBER,
                [5],
                ["a", "b", "c"],
                [{}],
                {"content": []},
                [{"content": [{"image_url": {"url": "x" * 20}}]}],
            ],
            "text_2": [None, [], NUMBER, [5], [{"image": "x"}], {"content": []}, {"content": [5]}, [{"content": [5]}]],
            "use_activation": NOT_FLAG,
            "truncate_prompt_tokens": NOT_WHOLE,
            "model": NOT_TEXT,
        },
    ),
    (
        "deepinfra",
        "/v1/inference/m",
        {},
        {"queries": [Q, Q], "documents": D},
        {
            "queries": [None, [], *NOT_LIST, [5], [""], ["a", "b", "c"]],
            "documents": [None, [], *NOT_LIST, [5], OBJECTS],
            "instruction": NOT_TEXT,
        },
    ),
    (
        "pinecone",
        "/rerank",
        {"x-pinecone-api-version": "2026-07"},
        {"model": "m", "query": Q, "documents": OBJECTS},
        {
            "query": QUERY,
            "documents": DOCUMENTS[1:],
            "rank_fields": RANK_FIELDS,
            "top_n": NOT_MOST,
            "return_documents": NOT_FLAG,
            "parameters": [STRING, NUMBER, LIST, {"truncate": "MIDDLE"}],
        },
    ),
    (
        "items",
        "/api/v1/rerank",
        {},
        {"query": Q, "documents": [{"id": 1, "text": "x"}]},
        {
            "query": QUERY,
            "documents": [[{"id": 1, "text": 5}], [{"id": 1, "image": "x"}]],
            "top_n": NOT_MOST,
            "return_documents": NOT_FLAG,
        },
    ),
]
WRONG = [
    (path, headers, body, field, value) for _, path, headers, body, sheet in SHEET for field, values in sheet.items() for value in values
]


def test_the_sheet_is_complete() -> None:
    """Every dialect has a row whose body is right, so that each failure below is the one field's."""
    assert {row[0] for row in SHEET} == {dialect.name for dialect in table.DIALECTS}
    for dialect, path, headers, body, _ in SHEET:
        assert exchange(path, body, headers).dialect == dialect


@pytest.mark.parametrize(("path", "headers", "body", "field", "value"), WRONG)
def test_wrong_field(path: str, headers: dict[str, str], body: dict[str, Any], field: str, value: Any) -> None:
    """A wrong value is refused, and the error names the field in its `field` and at the start of its message."""
    with pytest.raises(InvalidRequest) as caught:
        exchange(path, {**body, field: value}, headers)
    named = caught.value.field or ""
    if field == "rank_fields" and value == ["absent"]:
        assert "absent" in str(caught.value)
    elif field in ("text_1", "queries", "text_2", "documents") and "expected 1 or as many" in str(caught.value):
        assert named in ("text_1", "queries")
    else:
        assert named.startswith(field), named
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": 5, "documents": D}, "query: expected a string, got the number 5"),
        ({"query": "\t", "documents": D}, "query: must not be empty or be only whitespace"),
        ({"query": "", "documents": D}, "No query provided"),
        ({"query": Q, "documents": []}, "No documents provided"),
        ({"query": Q}, "documents: required, an array"),
        ({"query": Q, "documents": True}, "documents: expected an array, got true"),
        (
            {"query": Q, "documents": [{}], "rank_fields": "x" * 90},
            'rank_fields: expected an array of strings, got "' + "x" * 40 + '…" (90 characters)',
        ),
        (
            {"query": Q, "documents": {"content": [{"text": "a"}, {"type": "video_url"}]}},
            "documents.content[1]: expected an object with text or an image, got an object",
        ),
        ({"query": Q, "documents": ["a", 1.5]}, "documents[1]: expected a string or an object with text, got the number 1.5"),
        ({"query": Q, "documents": ["a", None]}, "documents[1]: expected a string or an object with text, got nothing"),
        ({"query": Q, "documents": D, "top_n": -1}, "top_n: expected at least 0, got the number -1"),
        ({"query": Q, "documents": D, "priority": 10**40}, "priority: expected at most 2147483647, got a number of more than 20 digits"),
        ({"query": Q, "documents": D, "top_n": "2"}, 'top_n: expected a whole number, got "2"'),
        ({"query": Q, "documents": D, "truncate": "MID"}, 'truncate: expected true, false, "END", "START" or "NONE", got "MID"'),
        ({"query": Q, "documents": D, "long_documents": "x"}, 'long_documents: expected one of "truncate", "chunk", got "x"'),
    ],
)
def test_messages(body: dict[str, Any], message: str) -> None:
    """Messages say what was expected and what was there."""
    with pytest.raises(InvalidRequest) as caught:
        exchange("/rerank", body)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/rerank", {"query": Q, "documents": ["x"] * 4}, "documents"),
        ("/rerank", {"query": Q, "texts": ["x"] * 4}, "texts"),
        ("/v1/reranking", {"query": Q, "input": ["x"] * 4}, "input"),
        ("/v1/ranking", {"query": {"text": Q}, "passages": [{"text": "x"}] * 4}, "passages"),
        ("/rerank/batch", {"pairs": [{"query": Q, "passage": "x"}] * 4}, "pairs"),
        ("/score", {"text_1": Q, "text_2": ["x"] * 4}, "text_2"),
        ("/predict", {"inputs": [[Q, "x"]] * 4}, "inputs"),
        ("/vertex", {"instances": [{"query": Q, "texts": ["x", "x"]}] * 2}, "instances"),
        ("/v1/inference/m", {"queries": [Q], "documents": ["x"] * 4}, "documents"),
        ("/api/v1/rerank", {"query": Q, "documents": [{"id": 1, "text": ""}] * 4}, "documents"),
        ("/v1/rerank", {"query": Q, "candidates": [{"text": "x"}] * 4}, "candidates"),
    ],
)
def test_too_many(path: str, body: dict[str, Any], field: str) -> None:
    """More documents than allowed are TooLarge; the message has both numbers and the setting."""
    with pytest.raises(TooLarge) as caught:
        exchange(path, body, max_documents=3)
    assert str(caught.value) == f"{field}: 4 given, at most 3 allowed in one request (RERANKER_MAX_DOCUMENTS)"


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b"", {}),
        (b"{", {}),
        (b"[]", {}),
        (b'"text"', {}),
        (b'{"query": "\xff", "documents": ["x"]}', {}),
        (b'{"query": NaN}', {}),
        (b'{"query": 1e999}', {}),
        (b'{"top_n": ' + b"9" * 5000 + b"}", {}),
        (b'{"query": ' + b"[" * 100_000 + b"}", {}),
        (b'{"unknown": ' + b"[" * 100_000 + b"}", {}),
        (b'{"query": "q", "documents": [' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"]}", {}),
        (b"", {"content-type": "application/msgpack"}),
        (b"\xdf\xff\xff\xff\xff", {"content-type": "application/msgpack"}),
        (b"\x81\xa5query" + b"\x91" * 100_000, {"content-type": "application/msgpack"}),
        (b"\x81\x01\x02", {"content-type": "application/msgpack"}),
        (msgspec.msgpack.encode({"query": Q, "documents": [b"bytes"]}), {"content-type": "application/msgpack"}),
        (
            msgspec.msgpack.encode({"query": Q, "documents": [{"text": "x", "e": msgspec.msgpack.Ext(5, b"")}]}),
            {"content-type": "application/msgpack"},
        ),
        (msgspec.msgpack.encode({"query": Q, "documents": [{(1, 2): "x"}]}), {"content-type": "application/msgpack"}),
    ],
)
def test_bad_bodies(raw: bytes, headers: dict[str, str]) -> None:
    """A body that is no object of its format, holds what no answer could hold, or nests without end is a wrong request."""
    with pytest.raises(InvalidRequest):
        exchange("/v1/rerank", raw, headers)


def body_of(dialect: str, status: int, kind: str) -> tuple[int, Any]:
    status, content, media_type = error_body(dialect, status, "what is wrong", kind, "r-1", field="query")
    assert media_type == "application/json"
    return status, msgspec.json.decode(content)


@pytest.mark.parametrize("dialect", ["common", "plain", "voyage", "nim", "mixedbread", "pinecone", "items", "texts", "unknown"])
def test_one_body_for_all(dialect: str) -> None:
    """The common body has `detail`, `message` and `error`, all strings, whatever the status."""
    for status, kind in ((400, "Validation"), (413, "Validation"), (429, "Overloaded"), (500, "Backend")):
        expected = {"detail": "what is wrong", "message": "what is wrong", "error": "what is wrong", "error_type": kind}
        assert body_of(dialect, status, kind) == (status, expected)


@pytest.mark.parametrize(
    ("status", "kind", "sent", "word"),
    [
        (400, "Validation", 422, "Validation"),
        (413, "Validation", 422, "Validation"),
        (400, "Empty", 400, "Empty"),
        (400, "Syntax", 400, "Validation"),
        (429, "Overloaded", 429, "Overloaded"),
        (500, "Backend", 424, "Backend"),
        (503, "Unhealthy", 503, "Unhealthy"),
        (504, "Timeout", 504, "Backend"),
        (401, "Unauthorized", 401, "Validation"),
    ],
)
def test_tei_errors(status: int, kind: str, sent: int, word: str) -> None:
    """TEI's clients get TEI's statuses and one of its six words."""
    for dialect in ("tei", "tei_predict", "tei_vertex", "tei_tokenize"):
        assert body_of(dialect, status, kind) == (sent, {"error": "what is wrong", "error_type": word})


def test_empty_texts() -> None:
    """TEI tells an empty list from any other mistake."""
    with pytest.raises(InvalidRequest) as caught:
        exchange("/rerank", {"query": Q, "texts": []})
    assert (str(caught.value), caught.value.error_type) == ("`texts` cannot be empty", "Empty")  # type: ignore[attr-defined]


def test_instances_of_several_models() -> None:
    """One call is ranked by one model, so instances that name another, or none, are refused and not scored by the first one's."""
    instance = {"query": Q, "texts": D, "model": "a"}
    assert exchange("/vertex", {"instances": [instance, instance]}).requests[1].model == "a"
    for other, told in (({"query": Q, "texts": D, "model": "b"}, '"b"'), ({"query": Q, "texts": D}, "nothing")):
        with pytest.raises(InvalidRequest) as caught:
            exchange("/vertex", {"instances": [instance, other]})
        assert str(caught.value) == f'instances[1].model: expected the one of instances[0] ("a"), got {told}'
        assert caught.value.field == "instances[1].model"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/rerank", {"input": {1: 2}}, "input"),
        ("/rerank", {"input": {"query": Q, "documents": D}, "parameters": {1: 2}}, "parameters"),
        ("/vertex", {"instances": [{"query": Q, "texts": D}, {1: 2, "query": Q, "texts": D}]}, "instances[1]"),
    ],
)
def test_keys_that_are_numbers(path: str, body: dict[str, Any], field: str) -> None:
    """MessagePack allows them, no dialect's objects have any."""
    with pytest.raises(InvalidRequest) as caught:
        exchange(path, msgspec.msgpack.encode(body), {"content-type": "application/msgpack"})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def nest(depth: int, shape: str) -> Any:
    """A value of so many lists or objects within each other."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if shape == "list" else {"a": value}
    return value


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", ["list", "object"])
def test_depth(shape: str, packed: bool) -> None:
    """What is nested as deeply as is allowed comes back, as YAML and as it was; one level more is refused by the field's name."""
    encode = msgspec.msgpack.encode if packed else msgspec.json.encode
    headers = {"content-type": "application/msgpack"} if packed else {}
    for more, field in ((0, None), (1, "documents"), (700, "documents")):
        value = nest(DEEPEST - 2 + more, shape)
        body = encode({"query": Q, "model": "m", "documents": [{"id": 1, "x": value}], "return_documents": True})
        if field is None:
            assert exchange("/v1/rerank", body, headers).answer["results"][0]["document"]["x"] == value
            continue
        with pytest.raises(InvalidRequest, match=rf"^{field}: nested too deeply, at most {DEEPEST} ") as caught:
            exchange("/v1/rerank", body, headers)
        assert caught.value.field == field


def test_many_brackets_are_no_depth() -> None:
    """Text may hold any number of them."""
    assert exchange("/rerank", {"query": Q, "documents": ["[" * 500, "{" * 500]}).dialect == "plain"


def test_an_answer_that_is_nested_too_deeply() -> None:
    """It is the caller's own text that is, whatever let it in."""
    found = table.call("/rerank", {})
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        table.write(Decoded((), lambda _: Answer(nest(100_000, "list"))), [], found)


def test_other_shapes() -> None:
    """DashScope's and OpenAI's errors have the shapes that their clients parse."""
    assert body_of("dashscope", 400, "Validation") == (400, {"code": "InvalidParameter", "message": "what is wrong", "request_id": "r-1"})
    assert body_of("dashscope", 401, "Unauthorized")[1]["code"] == "InvalidApiKey"
    details = {"message": "what is wrong", "type": "BadRequestError", "param": "query", "code": 400}
    assert body_of("vllm_score", 400, "Validation") == (400, {"error": details})


def test_packed_errors() -> None:
    """An error is MessagePack where the answer would have been."""
    _, content, media_type = error_body("common", 400, "m", "Validation", "r-1", packed=True)
    assert media_type == "application/msgpack"
    assert msgspec.msgpack.decode(content)["detail"] == "m"

"""Which dialect a call is in, and the way through it: `call`, `read`, then `write`.

The body decides; the path only breaks ties. The order of the rules matters: several clients send nearly the same body, and each rule
says what tells its own apart from those below it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from batching.errors import InvalidRequest
from service.dialects import (
    common,
    dashscope,
    deepinfra,
    items,
    librechat,
    mixedbread,
    nim,
    pinecone,
    plain,
    scores,
    tei,
    texts,
    vllm_score,
    voyage,
)
from service.dialects.body import Body, parse
from service.dialects.nouns import Call, Decoded, Dialect, Errors
from service.dialects.paths import ROUTES, Route, dialect_of, normal
from service.schemas import RerankResult

__all__ = ["DIALECTS", "FIXED", "ROUTES", "TOKENIZE", "Route", "call", "choose", "dialect_of", "dump", "error_shape", "read", "write"]

DIALECTS: tuple[Dialect, ...] = (
    common.DIALECT,
    plain.DIALECT,
    voyage.DIALECT,
    tei.DIALECT,
    tei.PREDICT,
    tei.VERTEX,
    texts.DIALECT,
    scores.PAIR,
    scores.BATCH,
    scores.QUERY,
    librechat.DIALECT,
    nim.DIALECT,
    dashscope.DIALECT,
    mixedbread.DIALECT,
    vllm_score.DIALECT,
    deepinfra.DIALECT,
    pinecone.DIALECT,
    items.DIALECT,
)
"""Every dialect; the names are the values of the metrics' dialect label."""
TOKENIZE = "tei_tokenize"
"""The name that errors of `/tokenize` go by; it ranks nothing and is not in DIALECTS."""

_SHAPES: dict[str, Errors] = {dialect.name: dialect.errors for dialect in DIALECTS} | {TOKENIZE: "tei"}
_BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
_TEXTS_PATHS = frozenset({"/reranking", "/v1/reranking"})
_ITEMS_PATH = "/api/v1/rerank"
_PLAIN_PATH = "/rerank"
FIXED = frozenset({"/score", "/v1/score", "/predict", "/vertex"})
"""Paths that only one kind of client calls."""
_PACKED = "application/msgpack"
_PACKED_NAMES = (_PACKED, "application/x-msgpack", "application/vnd.msgpack")
_JSON = "application/json"


def call(path: str, headers: Mapping[str, str], *, max_documents: int = 2000, request_id: str = "") -> Call:
    """Look at a call from outside: its path and its headers (names in lower case)."""
    packed_in = headers.get("content-type", "").lower().startswith(_PACKED_NAMES)
    accept, path = headers.get("accept", "").lower(), normal(path)
    return Call(
        path=path,
        dialect=dialect_of(path),
        agent=headers.get("user-agent", ""),
        pinecone="x-pinecone-api-version" in headers,
        keyed="api-key" in headers and path == _PLAIN_PATH,
        packed_in=packed_in,
        packed=any(name in accept for name in _PACKED_NAMES) or (packed_in and _JSON not in accept),
        max_documents=max_documents,
        request_id=request_id,
    )


def read(body: bytes, found: Call) -> Decoded:
    """Read a call's body and set its `dialect`; raises InvalidRequest, TooLarge."""
    fields = parse(body, found.packed_in)
    dialect = choose(fields, found)
    found.dialect = dialect.name
    return dialect.decode(fields, found)


def write(decoded: Decoded, results: Sequence[RerankResult], found: Call) -> tuple[bytes, str, dict[str, str]]:
    """Return the body, its media type and the dialect's own headers; raises ScoringFailed, InvalidRequest for what can't be given back."""
    answer = decoded.encode(results)
    try:
        return *dump(answer.content, found.packed), answer.headers
    except RecursionError:
        raise InvalidRequest("body: nested too deeply", "body") from None


def dump(content: Any, packed: bool) -> tuple[bytes, str]:
    """Encode an answer; return it with its media type."""
    return (msgspec.msgpack.encode(content), _PACKED) if packed else (msgspec.json.encode(content), _JSON)


def choose(body: Body, found: Call) -> Dialect:
    """Decide the dialect of a body that could be read; raises InvalidRequest where it says two things at once."""
    if found.path in FIXED:
        return _BY_NAME[found.dialect]
    for field, rule in _RULES:
        if getattr(body, field) is not None:
            return rule if isinstance(rule, Dialect) else rule(body, found)
    return _BY_NAME.get(found.dialect, common.DIALECT)


def error_shape(name: str) -> Errors:
    """How the dialect of this name words its errors."""
    return _SHAPES.get(name, "common")


def _texts(body: Body, found: Call) -> Dialect:
    if body.documents is not None:
        raise InvalidRequest("texts: give texts or documents, not both", "texts")
    # top_n is no mark: litellm and rerankers send it to TEI and read a bare list.
    marks = (body.return_texts, body.return_documents, body.prefer_device)
    marked = any(mark is not None for mark in marks) or body.top_k is not UNSET
    return texts.DIALECT if marked or found.path in _TEXTS_PATHS else tei.DIALECT


def _passages(body: Body, found: Call) -> Dialect:
    return nim.DIALECT if isinstance(body.query, dict) or found.dialect == nim.DIALECT.name else scores.QUERY


def _input(body: Body, found: Call) -> Dialect:
    return dashscope.DIALECT if isinstance(body.input, dict) or found.dialect == dashscope.DIALECT.name else mixedbread.DIALECT


def _documents(body: Body, found: Call) -> Dialect:
    if found.dialect == deepinfra.DIALECT.name:
        return deepinfra.DIALECT
    if found.pinecone or (found.keyed and pinecone.matches(body.documents)):
        return pinecone.DIALECT
    if found.path == _ITEMS_PATH and body.model is None and items.matches(body.documents):
        return items.DIALECT
    if body.top_k is not UNSET or body.truncation is not UNSET:
        return voyage.DIALECT
    plainly = body.model is None and body.return_documents is None and found.path == _PLAIN_PATH
    return plain.DIALECT if plainly else common.DIALECT


_RULES: tuple[tuple[str, Dialect | Callable[[Body, Call], Dialect]], ...] = (
    ("texts", _texts),
    ("pairs", scores.BATCH),
    ("passage", scores.PAIR),
    ("candidates", librechat.DIALECT),
    ("passages", _passages),
    ("input", _input),
    ("inputs", tei.PREDICT),
    ("instances", tei.VERTEX),
    ("documents", _documents),
)
"""The first field that is there decides."""

"""The body of any dialect, read once: every field that some dialect knows, as it came.

Types are checked by the dialect that uses a field (`fields.py`), since the same name means different things to different clients and
unknown fields must be ignored. Only the syntax is judged here.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from typing import Any

import msgspec
from msgspec import UNSET

from batching.errors import InvalidRequest

DEEPEST = 100
"""Lists and objects within each other that a field may hold. What is read is emitted as YAML and given back as well, which take more of the
stack than reading does: a body that only the reader's own limit stops, at about a thousand, would fail there."""


class BadBody(InvalidRequest):
    """The body is not an object in the format that its Content-Type names."""

    error_type = "Syntax"


class Body(msgspec.Struct, kw_only=True):
    """All fields of all dialects; None is absent or null, which no dialect tells apart, except for Voyage's two markers."""

    # what is ranked
    query: Any = None
    documents: Any = None
    texts: Any = None
    pairs: Any = None
    passage: Any = None
    passages: Any = None
    candidates: Any = None
    input: Any = None
    inputs: Any = None
    instances: Any = None
    items: Any = None
    queries: Any = None
    text_1: Any = None
    text_2: Any = None
    data_1: Any = None
    data_2: Any = None
    # how it is ranked
    model: Any = None
    instruction: Any = None
    instruct: Any = None
    rank_fields: Any = None
    priority: Any = None
    max_length: Any = None
    max_tokens_per_doc: Any = None
    truncate: Any = None
    truncation: Any = UNSET
    truncation_direction: Any = None
    truncation_side: Any = None
    truncate_prompt_tokens: Any = None
    long_documents: Any = None
    chunk_overlap: Any = None
    max_chunks: Any = None
    max_chunks_per_doc: Any = None
    overlap_tokens: Any = None
    parameters: Any = None
    prefer_device: Any = None
    # how it is answered
    top_n: Any = None
    top_k: Any = UNSET
    return_documents: Any = None
    return_texts: Any = None
    return_text: Any = None
    return_input: Any = None
    return_windows: Any = None
    raw_scores: Any = None
    normalize: Any = None
    use_activation: Any = None
    activation: Any = None
    softmax: Any = None
    add_special_tokens: Any = None


_JSON = msgspec.json.Decoder(Body)
_PACKED = msgspec.msgpack.Decoder(Body)
_NESTED = frozenset({dict, list})
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_SURROGATES = re.compile(rb"(?<!\\)((?:\\\\)*)(?:%b%b|(%b|%b))" % (_HIGH, _LOW, _HIGH, _LOW))
"""Surrogates escaped in JSON, after backslashes that escape each other: a pair, or as the second group one that stands alone."""


def parse(body: bytes, packed: bool) -> Body:
    """Read a JSON or MessagePack object; raises BadBody, InvalidRequest for a field that is nested too deeply."""
    found = _read(body, packed)
    # Nearly no JSON has brackets enough, and counting them is quick.
    if packed or body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(found)
    return found


def _read(body: bytes, packed: bool) -> Body:
    try:
        return _unpacked(body) if packed else _decoded(body.removeprefix(BOM_UTF8))
    except msgspec.ValidationError as error:
        raise BadBody(f"body: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        kind = "MessagePack" if packed else "JSON"
        raise BadBody(f"body: not valid {kind}: {error}" if body else f"body: empty, expected a {kind} object") from None
    except RecursionError:
        raise BadBody("body: nested too deeply") from None


def _decoded(body: bytes) -> Body:
    try:
        return _JSON.decode(body)
    except msgspec.DecodeError:
        # JavaScript counts UTF-16: a text cut within an emoji ends in half of its pair, which is no JSON and becomes U+FFFD.
        if b"\\ud" not in body and b"\\uD" not in body:
            raise
        return _JSON.decode(_SURROGATES.sub(lambda found: found[1] + rb"\ufffd" if found[2] else found[0], body))


def _unpacked(body: bytes) -> Body:
    found = _PACKED.decode(body)
    try:
        # What is given back must fit into JSON: no extension types, no keys that are neither strings nor numbers.
        msgspec.json.encode(found)
    except TypeError as error:
        raise BadBody(f"body: {error}") from None
    return found


def _check_depth(found: Body) -> None:
    for field in Body.__struct_fields__:
        if _is_deeper(getattr(found, field), DEEPEST):
            raise InvalidRequest(f"{field}: nested too deeply, at most {DEEPEST} lists and objects within each other are read", field)


def _is_deeper(value: Any, most: int) -> bool:
    level, depth = [value] if type(value) in _NESTED else [], 0
    while level and depth < most:
        level = [inner for item in level for inner in (item.values() if type(item) is dict else item) if type(inner) in _NESTED]
        depth += 1
    return bool(level)


def convert(item: Any, field: str) -> Body:
    """Read an object inside a body as a body of its own; raises InvalidRequest."""
    if not isinstance(item, dict):
        raise InvalidRequest(f"{field}: required, an object", field)
    try:
        return msgspec.convert(item, Body)
    except msgspec.ValidationError as error:
        # MessagePack has keys that are no strings.
        raise InvalidRequest(f"{field}: {error}", field) from None

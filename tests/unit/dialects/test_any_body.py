"""Whatever is sent: an answer, or InvalidRequest; never anything else.

FUZZ_EXAMPLES=30000 makes each generator try that many bodies (with --timeout 0).
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batching.errors import InvalidRequest
from service.dialects import table
from service.dialects.body import Body
from service.dialects.examples import openapi_examples
from tests.unit.dialects.wire import exchange

BODIES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
UNHURRIED = settings(max_examples=BODIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "query", "id", "passage", "content", "documents"]) | st.text(max_size=4), inner, max_size=3
        )
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(Body.__struct_fields__)
PATHS = st.sampled_from([route.path.replace("{model:path}", "some/model") for route in table.ROUTES])
HEADERS = st.sampled_from([{}, {"api-key": "k"}, {"user-agent": "litellm/1.0"}, {"accept": "application/msgpack"}])
EXAMPLES = [(example.path, example.request) for example in openapi_examples() if example.dialect != table.TOKENIZE]


def survives(path: str, raw: bytes, headers: dict[str, str]) -> None:
    """Send it; the answer must be JSON or MessagePack that can be read back."""
    try:
        exchange(path, raw, headers, max_documents=50)
    except InvalidRequest as error:
        assert str(error)
        assert len(str(error)) < 400


@UNHURRIED
@given(PATHS, HEADERS, st.dictionaries(FIELDS, JSON, max_size=6))
def test_any_fields(path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
    """Any values in any known fields, on any path, in both formats."""
    survives(path, msgspec.json.encode(body), headers)
    survives(path, msgspec.msgpack.encode(body) if _fits(body) else b"", {**headers, "content-type": "application/msgpack"})


@UNHURRIED
@given(st.sampled_from(EXAMPLES), HEADERS, FIELDS, JSON)
def test_a_right_body_with_one_field_changed(example: tuple[str, dict[str, Any]], headers: dict[str, str], field: str, value: Any) -> None:
    """A real call with one field replaced by anything, or added, reaches the code behind the first checks."""
    path, request = example
    survives(path, msgspec.json.encode({**request, field: value}), headers)


@UNHURRIED
@given(PATHS, st.binary(max_size=60), st.booleans())
def test_any_bytes(path: str, raw: bytes, packed: bool) -> None:
    """Bytes that are nothing at all."""
    survives(path, raw, {"content-type": "application/msgpack"} if packed else {})


@UNHURRIED
@given(PATHS, JSON)
def test_any_json(path: str, value: Any) -> None:
    """Any JSON value as the whole body."""
    survives(path, msgspec.json.encode(value), {})


@pytest.mark.parametrize("example", openapi_examples(), ids=lambda example: f"{example.path} {example.summary}")
def test_examples_are_true(example: Any) -> None:
    """Each example's answer has the type that its dialect declares, and the dialect is one that its path lists."""
    if example.dialect == table.TOKENIZE:
        return
    dialect = next(found for found in table.DIALECTS if found.name == example.dialect)
    route = next(
        route for route in table.ROUTES if route.path == example.path or ("{" in route.path and example.path.startswith(route.prefix))
    )
    assert example.dialect in route.dialects
    for answer in dialect.answers:
        try:
            read = msgspec.convert(example.response, answer)
        except msgspec.ValidationError:
            continue
        assert msgspec.to_builtins(read) == example.response
        return
    pytest.fail("no declared answer type fits")


def _fits(value: Any) -> bool:
    """MessagePack holds integers of 64 bits."""
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64

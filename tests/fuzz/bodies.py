"""What is sent: calls that are right but for one field, known fields with any values, any JSON, any bytes; to every path, in both formats."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from service.dialects.examples import openapi_examples
from service.dialects.paths import ROUTES
from tests.unit.dialects.test_any_body import FIELDS, HEADERS, JSON

Sent = tuple[str, bytes, dict[str, str]]
"""Path, body, headers."""

PATHS = st.sampled_from([route.path.replace("{model:path}", "some/model") for route in ROUTES])
EXAMPLES = st.sampled_from([(example.path, example.request) for example in openapi_examples()])
SEEN: dict[str, list[Any]] = {}
"""Values of every field in right calls."""
for _example in openapi_examples():
    for _field, _value in _example.request.items() if isinstance(_example.request, dict) else ():
        SEEN.setdefault(_field, []).append(_value)
MIXED = st.sets(st.sampled_from(sorted(SEEN)), max_size=6).flatmap(
    lambda fields: st.fixed_dictionaries({field: st.sampled_from(SEEN[field]) for field in sorted({"query", *fields})})
)
PACKED = {"content-type": "application/msgpack"}


def _encoded(path: str, value: Any, headers: dict[str, str], packed: bool) -> Sent:
    if packed:
        try:
            return path, msgspec.msgpack.encode(value), {**headers, **PACKED}
        except OverflowError:  # MessagePack's integers end at 64 bits
            pass
    return path, msgspec.json.encode(value), {**headers, "content-type": "application/json"}


KINDS: dict[str, st.SearchStrategy[Sent]] = {
    "a right call, one field anything": st.builds(
        lambda example, field, value, headers, packed: _encoded(example[0], {**example[1], field: value}, headers, packed),
        EXAMPLES, FIELDS, JSON, HEADERS, st.booleans(),
    ),
    "a right call on any path": st.builds(
        lambda example, path, headers, packed: _encoded(path, example[1], headers, packed), EXAMPLES, PATHS, HEADERS, st.booleans()
    ),
    "fields of different calls, mixed": st.builds(_encoded, PATHS, MIXED, HEADERS, st.booleans()),
    "known fields, anything in them": st.builds(
        _encoded, PATHS, st.dictionaries(FIELDS, JSON, max_size=6), HEADERS, st.booleans()
    ),
    "any JSON": st.builds(_encoded, PATHS, JSON, HEADERS, st.booleans()),
    "any bytes": st.builds(
        lambda path, raw, packed: (path, raw, PACKED if packed else {"content-type": "application/json"}),
        PATHS, st.binary(max_size=60), st.booleans(),
    ),
}  # fmt: skip

"""The OpenAPI description against what the dialects really take and give."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.dialects import table
from service.dialects.examples import openapi_examples
from service.dialects.openapi import openapi_paths
from tests.unit.dialects.test_captured import CALLS

PATHS, SCHEMAS = openapi_paths()


def request_name(dialect: str) -> str:
    return "".join(word.capitalize() for word in dialect.split("_")) + "Request"


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*map(references, value.values())) if value else found
    return set().union(*map(references, value)) if isinstance(value, list) and value else set()


def test_every_path_is_described() -> None:
    """Each served path has a POST operation of its own id, with a schema for every dialect that it lists, and no reference leads nowhere."""
    operations = [path["post"] for path in PATHS.values()]
    assert set(PATHS) == {route.path.replace(":path}", "}") for route in table.ROUTES}
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert references([PATHS, SCHEMAS]) <= {f"#/components/schemas/{name}" for name in SCHEMAS}
    for dialect in table.DIALECTS:
        assert SCHEMAS[request_name(dialect.name)]["type"] == "object"
    json.dumps([PATHS, SCHEMAS])


def test_every_dialect_has_an_example() -> None:
    """No dialect is without an example, and each stands at the path it was made for."""
    examples = openapi_examples()
    assert {example.dialect for example in examples} == {dialect.name for dialect in table.DIALECTS} | {table.TOKENIZE}
    for example in examples:
        path = next(path for path in PATHS if path == example.path or ("{" in path and example.path.startswith(path.partition("{")[0])))
        described = PATHS[path]["post"]["responses"]["200"]["content"]["application/json"]["examples"][example.summary]
        assert described == {"value": example.response}


def test_schemas_hold() -> None:
    """Examples and recorded calls fit the request schemas, and the examples' answers fit the answer schemas."""
    jsonschema = pytest.importorskip("jsonschema")

    def check(value: Any, schema: dict[str, Any]) -> None:
        jsonschema.Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}}).validate(value)

    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for example in openapi_examples():
        check(example.request, SCHEMAS[request_name(example.dialect)])
        path = next(path for path in PATHS if path == example.path or ("{" in path and example.path.startswith(path.partition("{")[0])))
        check(example.response, PATHS[path]["post"]["responses"]["200"]["content"]["application/json"]["schema"])
    for call in CALLS:
        check(call["body"], SCHEMAS[request_name(call["dialect"])])

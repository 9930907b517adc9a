"""The OpenAPI 3.1 description of every POST path: what its dialects take and answer, how they fail, and examples."""

from __future__ import annotations

from typing import Any

import msgspec

from service.dialects import errors, table, tei_tokens
from service.dialects.examples import Example, openapi_examples
from service.dialects.paths import ROUTES, Route
from service.dialects.request_schemas import REQUESTS

_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
_PACKED = "application/msgpack"
_STATUSES = {
    400: "The request is wrong; the message names the field, the value and the limit.",
    401: "The key is missing or unknown.",
    404: "The model is not served here.",
    408: "The body did not arrive within the time that the answer may take.",
    413: "The request is over a limit; the message names its setting.",
    415: "The body is compressed; the message names its Content-Encoding.",
    422: "The request is wrong (TEI's clients).",
    424: "The texts could not be scored (TEI's clients).",
    429: "The queue is full, or the key's rate is used up; see Retry-After.",
    500: "The request's own documents could not be scored.",
    503: "Starting, draining or without a worker; see Retry-After.",
    504: "The deadline passed.",
}
_ERRORS: dict[str, Any] = {
    "common": errors.CommonError,
    "tei": errors.TeiError,
    "dashscope": errors.DashscopeError,
    "openai": errors.OpenaiError,
}
_ANSWERS: dict[str, tuple[Any, ...]] = {dialect.name: dialect.answers for dialect in table.DIALECTS} | {
    table.TOKENIZE: (list[list[tei_tokens.Token]],)
}


def openapi_paths() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return OpenAPI's `paths` of every POST path, and the `schemas` of its components."""
    types = [answer for answers in _ANSWERS.values() for answer in answers] + list(_ERRORS.values())
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    for name, schema in REQUESTS.items():
        components[_request_name(name)] = schema
    examples = openapi_examples()
    return {_template(route): {"post": _operation(route, by_type, examples)} for route in ROUTES}, components


def _template(route: Route) -> str:
    return route.path.replace(":path}", "}")


def _request_name(dialect: str) -> str:
    return "".join(word.capitalize() for word in dialect.split("_")) + "Request"


def _operation(route: Route, by_type: dict[str, Any], examples: list[Example]) -> dict[str, Any]:
    mine = [example for example in examples if example.dialect in route.dialects and _leads(route, example.path)]
    answers = [by_type[repr(answer)] for name in route.dialects for answer in _ANSWERS[name]]
    shapes = _error_shapes(route)
    failed = _content(_any([by_type[repr(_ERRORS[shape])] for shape in shapes]), {})
    told = {str(status): {"description": text, "content": failed} for status, text in _STATUSES.items()}
    operation: dict[str, Any] = {
        "operationId": "post" + "".join(f"_{part.strip('{}').partition(':')[0]}" for part in route.path.split("/") if part),
        "summary": f"For {route.clients}",
        "description": f"Dialects: {', '.join(route.dialects)}. The body decides which.",
        "requestBody": {
            "required": True,
            "content": _content(
                _any([{"$ref": _REFERENCE.format(name=_request_name(name))} for name in route.dialects]),
                {example.summary: {"value": example.request} for example in mine},
            ),
        },
        "responses": {
            "200": {
                "description": "The ranking.",
                "content": _content(_any(answers), {example.summary: {"value": example.response} for example in mine}),
            },
            **told,
        },
    }
    if "{" in route.path:
        name = route.path.partition("{")[2].partition(":")[0]
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
    return operation


def _error_shapes(route: Route) -> list[str]:
    """Return how errors may be worded: a wrong body may be another dialect's than those that the path is for, unless the path is fixed."""
    others = [] if route.path in table.FIXED or route.dialect == table.TOKENIZE else ["common", "tei", "dashscope"]
    return list(dict.fromkeys([*(table.error_shape(name) for name in (route.dialect, *route.dialects)), *others]))


def _leads(route: Route, path: str) -> bool:
    return path == route.path or ("{" in route.path and path.startswith(route.prefix))


def _any(schemas: list[Any]) -> Any:
    different = list({repr(schema): schema for schema in schemas}.values())
    return different[0] if len(different) == 1 else {"anyOf": different}


def _content(schema: Any, examples: dict[str, Any]) -> dict[str, Any]:
    described = {"schema": schema, **({"examples": examples} if examples else {})}
    return {_JSON: described, _PACKED: {"schema": schema}}

"""The OpenAPI document: the dialects' own description of what is posted, and here what is read, plus headers and keys of all of it."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from service import health
from service.dialects.openapi import openapi_paths

_ERROR = {"$ref": "#/components/schemas/CommonError"}
_OBJECT: dict[str, Any] = {"type": "object"}
_TEXT = {"type": "string"}
_ABOUT = """Rerank a query's documents with a cross-encoder, in the words of whichever client you have.

The body decides the dialect, the path only breaks ties. Every answer carries `X-Request-Id` and `Server-Timing`; errors say in `detail`
which field was wrong and which setting holds the limit. Scores are between 0 and 1 unless raw scores are asked for; equal scores keep
their order."""


class Read(msgspec.Struct, frozen=True):
    """A path that is read with GET. `answers`: what each status means, and the keys that its body surely has."""

    path: str
    summary: str
    answers: dict[int, tuple[str, dict[str, Any]]]
    media_type: str = "application/json"
    tag: str = "Health"
    parameter: str = ""
    keyed: bool = False


def _body(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_STATUS = {"type": "string", "enum": ["ok", "starting", "draining", "unhealthy"]}
_HEALTH = _body(status=_STATUS, model_loaded={"type": "boolean"}, model=_TEXT, device=_TEXT, version=_TEXT)
_READY = _body(status=_STATUS)
_MODEL = _body(id=_TEXT, object=_TEXT, created={"type": "integer"}, owned_by=_TEXT, model_type=_TEXT)
_LIST = _body(object=_TEXT, data={"type": "array", "items": _MODEL})
_NIM = _body(object=_TEXT, message=_TEXT, status=_TEXT)
_NOT_READY = "No: starting, draining, or without a worker to rely on; `detail` says why."

READS = (
    Read("/", "What this is; for a browser, a page to try it on", {200: ("The service.", _OBJECT)}, tag="About"),
    Read("/health", "Everything about the service's state", {200: ("Ready.", _HEALTH), 503: (_NOT_READY, _HEALTH)}),
    Read("/health/live", "Does this process answer?", {200: ("Yes.", _READY)}),
    Read("/health/ready", "May work be sent here?", {200: ("Yes.", _READY), 503: (_NOT_READY, _READY)}),
    Read("/v1/health/live", "The same in NVIDIA NIM's words", {200: ("Yes.", _NIM)}),
    Read("/v1/health/ready", "The same in NVIDIA NIM's words", {200: ("Yes.", _NIM), 503: (_NOT_READY, _NIM)}),
    Read("/metrics", "Metrics in Prometheus' format", {200: ("All HTTP processes summed.", _TEXT)}, media_type="text/plain", keyed=True),
    Read("/v1/models", "The served models, the default first", {200: ("The models.", _LIST)}, tag="About", keyed=True),
    Read(
        "/v1/models/{name}",
        "One model",
        {200: ("The model.", _MODEL), 404: ("It is not served here.", _ERROR)},
        tag="About",
        parameter="name",
        keyed=True,
    ),
    Read(
        "/info",
        "The default model and the limits",
        {200: ("As text-embeddings-inference tells them, and more.", _OBJECT)},
        tag="About",
        keyed=True,
    ),
    Read("/stats", "How every queue and worker stands", {200: ("By model.", _OBJECT)}, tag="About", keyed=True),
    Read("/version", "The version", {200: ("The version.", _body(version=_TEXT))}, tag="About"),
)

_PARAMETERS = {
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Comes back with the answer and stands in the log; made if absent, over 128 characters, or not printable ASCII.",
        "schema": _TEXT,
    },
    "RequestTimeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds that the answer may take, then 504; capped by RERANKER_REQUEST_TIMEOUT.",
        "schema": {"type": "number", "minimum": 0.001},
    },
}
_HEADERS = {
    "RequestId": {"description": "The request's id.", "schema": _TEXT},
    "ServerTiming": {"description": "Milliseconds: tokenize, queue, forward, total.", "schema": _TEXT},
    "RetryAfter": {"description": "Seconds until another try is worth while.", "schema": {"type": "integer", "minimum": 1}},
}
_RETRY = frozenset({"429", "503"})


@functools.cache
def document() -> bytes:
    """Return the document as JSON; made once."""
    return msgspec.json.encode(build())


def build() -> dict[str, Any]:
    """Return the document."""
    paths, schemas = openapi_paths()
    for item in paths.values():
        _dress(item["post"])
    for read in READS:
        paths.setdefault(read.path, {})["get"] = _read(read)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rerankd", "version": health.version(), "description": _ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": "/"}],
        "tags": [{"name": "Rerank"}, {"name": "Health"}, {"name": "About"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "Api-Key"},
            },
        },
    }


def _dress(operation: dict[str, Any]) -> None:
    operation["tags"] = ["Rerank"]
    operation["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    given = [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS]
    operation["parameters"] = [*operation.get("parameters", ()), *given]
    for status, response in operation["responses"].items():
        response["headers"] = _headers(status)


def _headers(status: str) -> dict[str, Any]:
    names = {"X-Request-Id": "RequestId", "Server-Timing": "ServerTiming"} | ({"Retry-After": "RetryAfter"} if status in _RETRY else {})
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}


def _read(read: Read) -> dict[str, Any]:
    answers = {
        str(status): {"description": told, "content": {read.media_type: {"schema": schema}}, "headers": _headers(str(status))}
        for status, (told, schema) in read.answers.items()
    }
    if read.keyed:
        refused = {"description": "The key is missing or unknown.", "content": {"application/json": {"schema": _ERROR}}}
        answers["401"] = refused | {"headers": _headers("401")}
    operation: dict[str, Any] = {
        "operationId": "get" + read.path.replace("{", "").replace("}", "").replace("/", "_"),
        "summary": read.summary,
        "tags": [read.tag],
        "responses": answers,
    }
    if read.keyed:
        operation["security"] = [{}, {"bearer": []}, {"apiKey": []}]
    if read.parameter:
        operation["parameters"] = [{"name": read.parameter, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]
    return operation

"""The bodies that each kind of server takes, and how its answer is checked: which path, which fields, what one result looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.load.workload import Request

_USAGE = re.compile(rb'"total_tokens"\s*:\s*(\d+)')


@dataclass(frozen=True, slots=True)
class Shape:
    """One dialect as a load generator needs it; `result` stands once for every result in a right answer."""

    path: str
    body: Callable[[Request], dict[str, Any]]
    result: bytes


SHAPES: dict[str, Shape] = {
    "native": Shape("/rerank", lambda r: {"query": r.query, "documents": r.documents, "return_documents": False}, b'"index":'),
    "tei": Shape("/rerank", lambda r: {"query": r.query, "texts": r.documents}, b'"index":'),
    "infinity": Shape(
        "/rerank", lambda r: {"model": "bench", "query": r.query, "documents": r.documents, "return_documents": False}, b'"index":'
    ),
    "cohere": Shape(
        "/v2/rerank", lambda r: {"model": "bench", "query": r.query, "documents": r.documents, "top_n": len(r.documents)}, b'"index":'
    ),
    "mosec": Shape("/inference", lambda r: {"query": r.query, "documents": r.documents}, b'"index":'),
}
"""Infinity's and vLLM's, Cohere's and TEI's own fields; "native" is also what the FastAPI baseline takes, "mosec" is its default route."""


def encode_body(shape: Shape, request: Request) -> bytes:
    """Return the JSON body of a request in this dialect."""
    return json.dumps(shape.body(request), ensure_ascii=False, separators=(",", ":")).encode()


def reported_tokens(body: bytes) -> int:
    """Return the tokens that an answer's usage states, 0 where it states none."""
    found = _USAGE.search(body)
    return int(found.group(1)) if found else 0


def results_in(shape: Shape, body: bytes) -> int:
    """Count the results in an answer without decoding it."""
    return body.count(shape.result)

"""A call through the dialects with a made-up ranking in the middle: what a client would get from a server whose model counts characters."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from service.dialects import table
from service.dialects.nouns import Call
from service.schemas import RerankRequest, RerankResult, Timings

MODEL = "served-model"


class Exchange(msgspec.Struct):
    """What went through."""

    dialect: str
    requests: tuple[RerankRequest, ...]
    answer: Any
    headers: dict[str, str]
    call: Call


def raw_score(query: str, document: str) -> float:
    """Longer documents are better; the query shifts all of them."""
    return len(document) / 10.0 - len(query) % 7


def sigmoid(raw: float) -> float:
    """The score of a raw score."""
    return float(1.0 / (1.0 + np.exp(-np.float64(np.float32(raw)))))


def rank(request: RerankRequest, failed: dict[int, str] | None = None, truncated: tuple[int, ...] = ()) -> RerankResult:
    """Rank by `raw_score`; `failed` documents have no score, `truncated` ones were cut."""
    errors = failed or {}
    count = len(request.documents)
    raw = np.array([np.nan if n in errors else raw_score(request.query, d) for n, d in enumerate(request.documents)], np.float32)
    order = [index for index in sorted(range(count), key=lambda index: (-raw[index], index)) if index not in errors]
    return RerankResult(
        id="id-1",
        model=MODEL,
        created=1_700_000_000,
        raw=raw,
        scores=1.0 / (1.0 + np.exp(-raw.astype(np.float64))),
        order=order[: request.top_n or None],
        truncated=np.array([index in truncated for index in range(count)], np.bool_),
        pair_tokens=7 * count,
        timings=Timings(tokenize_s=0.002, queue_s=0.001, forward_s=0.03, total_s=0.04),
        errors=errors,
    )


def exchange(
    path: str,
    body: Any,
    headers: dict[str, str] | None = None,
    failed: dict[int, str] | None = None,
    truncated: tuple[int, ...] = (),
    max_documents: int = 2000,
) -> Exchange:
    """Send a body (bytes as they are, anything else as JSON) and read the answer back from its bytes; raises what the dialects raise."""
    found = table.call(path, headers or {}, max_documents=max_documents, request_id="id-1")
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    decoded = table.read(raw, found)
    results = [rank(request, failed, truncated) for request in decoded.requests]
    content, media_type, sent = table.write(decoded, results, found)
    answer = msgspec.msgpack.decode(content) if media_type == "application/msgpack" else msgspec.json.decode(content)
    return Exchange(found.dialect, decoded.requests, answer, sent, found)

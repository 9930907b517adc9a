"""Error bodies, per dialect. `service/failures.py` decides the status; TEI's clients alone expect another one for some kinds.

The common body has every key that some client reads and no key of a kind that makes one fail: `detail` and `message` and `error` are
strings (an `error` object kills voyageai 0.3.7, a `detail` list garbles two more).
"""

from __future__ import annotations

from typing import Any

import msgspec

from service.dialects import table
from service.dialects.nouns import Errors


class CommonError(msgspec.Struct):
    """What every client of the common dialect, NIM, Mixedbread, Pinecone and TEI can read."""

    detail: str
    message: str
    error: str
    error_type: str


class TeiError(msgspec.Struct):
    """TEI's error; its types are capitalised on the wire."""

    error: str
    error_type: str


class DashscopeError(msgspec.Struct):
    """DashScope's error."""

    code: str
    message: str
    request_id: str


class OpenaiDetails(msgspec.Struct):
    """What OpenAI's error holds."""

    message: str
    type: str
    param: str | None
    code: int


class OpenaiError(msgspec.Struct):
    """OpenAI's error, which vLLM's `/score` answers with."""

    error: OpenaiDetails


_TEI_TYPES = {"Timeout": "Backend", "Unauthorized": "Validation", "NotFound": "Validation", "Cancelled": "Backend", "Syntax": "Validation"}
_TEI_STATUS_OF = {(400, "Validation"): 422, (413, "Validation"): 422, (500, "Backend"): 424}
TEI_STATUSES = frozenset(_TEI_STATUS_OF.values())
"""Statuses that only TEI's dialects answer with."""
_DASHSCOPE_CODES = {
    401: "InvalidApiKey",
    404: "ModelNotFound",
    429: "Throttling",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "RequestTimeOut",
}
_OPENAI_TYPES = {
    401: "AuthenticationError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}


def error_body(
    dialect: str, status: int, message: str, kind: str, request_id: str, *, field: str | None = None, packed: bool = False
) -> tuple[int, bytes, str]:
    """Return the status, the body and its media type for an error in `dialect`.

    `kind` is TEI's word for it ("Validation", "Backend", "Overloaded", "Unhealthy", "Empty") or one of ours that it has none for
    ("Syntax", "Timeout", "Unauthorized", "NotFound", "Cancelled"). The status differs from the given one in TEI's dialects only.
    """
    shape = table.error_shape(dialect)
    if shape == "tei":
        status = _TEI_STATUS_OF.get((status, kind), status)
    content = _content(shape, status, message, kind, request_id, field)
    return status, *table.dump(content, packed)


def _content(shape: Errors, status: int, message: str, kind: str, request_id: str, field: str | None) -> Any:
    if shape == "tei":
        return TeiError(message, _TEI_TYPES.get(kind, kind))
    if shape == "dashscope":
        return DashscopeError(_DASHSCOPE_CODES.get(status, "InvalidParameter"), message, request_id)
    if shape == "openai":
        return OpenaiError(OpenaiDetails(message, _OPENAI_TYPES.get(status, "BadRequestError"), field, status))
    return CommonError(message, message, message, _TEI_TYPES.get(kind, kind))

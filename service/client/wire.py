"""The native dialect from the caller's side: what is sent, and what is made of any answer. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from service.client.answer import Document, Ranked, RerankResult
from service.client.errors import RerankError, RerankTimeoutError, ServerError, UnavailableError, of_status

PATH = "/rerank"
_SHOWN = 500
"""Characters of an unexpected body that an error repeats."""


class _Result(msgspec.Struct):
    index: int
    relevance_score: float
    truncated: bool = False


class _Failure(msgspec.Struct):
    index: int
    message: str


class _Usage(msgspec.Struct):
    total_tokens: int


class _Answer(msgspec.Struct):
    results: list[_Result]
    model: str
    usage: _Usage
    errors: list[_Failure] = []


_ANSWER = msgspec.json.Decoder(_Answer)


def _plain(value: Any) -> Any:
    """What msgspec does not know of what the client's types allow: mappings and sequences of other kinds. Raises TypeError."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def request_body(query: str, documents: Sequence[Document], options: Mapping[str, Any]) -> bytes:
    """Encode a call. All scores are asked for and cut to top_n later, and no documents: the caller has them."""
    given = {name: value for name, value in options.items() if value is not None}
    return _ENCODER.encode({"query": query, "documents": documents, "return_documents": False, **given})


def headers(timeout_s: float) -> dict[str, str]:
    """Headers of one try: the server need not work on what nobody waits for."""
    return {"content-type": "application/json", "accept": "application/json", "x-request-timeout": f"{max(timeout_s, 0.001):.3f}"}


def read_answer(response: httpx.Response, documents: Sequence[Document], top_n: int | None) -> RerankResult:
    """Read any answer; raises RerankError for all but a ranking."""
    if response.status_code != httpx.codes.OK:
        raise _error(response)
    try:
        answer = _ANSWER.decode(response.content)
        scores = [math.nan] * len(documents)
        ranked = []
        for item in answer.results:
            scores[item.index] = item.relevance_score
            ranked.append(Ranked(index=item.index, score=item.relevance_score, document=documents[item.index], truncated=item.truncated))
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
        raise ServerError(f"the answer can't be read: {error}", response.status_code, _request_id(response)) from None
    kept = ranked[: top_n or None]
    return RerankResult(
        scores=scores,
        ranked_indices=[item.index for item in kept],
        results=kept,
        model=answer.model,
        request_id=_request_id(response) or "",
        tokens=answer.usage.total_tokens,
        failed={failure.index: failure.message for failure in answer.errors},
    )


def transport_error(error: httpx.HTTPError) -> RerankError:
    """What an error below HTTP means to the caller."""
    kind = RerankTimeoutError if isinstance(error, httpx.TimeoutException) else UnavailableError
    return kind(f"no answer: {error or type(error).__name__}")


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date; None where it says nothing sensible."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value).astimezone(UTC) - now).total_seconds()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _request_id(response: httpx.Response) -> str | None:
    found: str | None = response.headers.get("x-request-id")
    return found


def _error(response: httpx.Response) -> RerankError:
    asked = retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
    return of_status(response.status_code)(_message(response), response.status_code, _request_id(response), asked)


def _message(response: httpx.Response) -> str:
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    said = body.get("detail") if isinstance(body, dict) else None
    return said if isinstance(said, str) else f"HTTP {response.status_code}: {response.text[:_SHOWN]}"

"""The one map from the exception tree to what a caller is told: status, message, kind, headers, and the reason that is counted.

How a dialect words it is `dialects/errors.py`'s. The text of an error that nobody foresaw goes to the log, never to the caller.
"""

from __future__ import annotations

import math

import msgspec

from batching import errors

Reason = str
"""Why a request was not answered with a ranking; a label of the rejections metric, one of REASONS."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller is told instead of a ranking. `error_type` is text-embeddings-inference's word for the kind."""

    status: int
    message: str
    error_type: str
    reason: Reason
    field: str | None = None
    retry_after_s: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status."""
        headers: dict[str, str] = {}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status == 401:
            headers["www-authenticate"] = 'Bearer realm="rerankd"'
        return headers


class _Kind(msgspec.Struct, frozen=True):
    status: int
    error_type: str
    reason: Reason


# The first entry that an exception is an instance of counts: children stand before their parents.
_KINDS: tuple[tuple[type[errors.RerankdError], _Kind], ...] = (
    (errors.TooLarge, _Kind(413, "Validation", "too_large")),
    (errors.TooSlow, _Kind(408, "Validation", "too_slow")),
    (errors.InvalidRequest, _Kind(400, "Validation", "invalid")),
    (errors.Unauthorized, _Kind(401, "Unauthorized", "unauthorized")),
    (errors.NotFound, _Kind(404, "NotFound", "not_found")),
    (errors.RateLimited, _Kind(429, "Overloaded", "rate_limited")),
    (errors.Overloaded, _Kind(429, "Overloaded", "overloaded")),
    (errors.Unavailable, _Kind(503, "Unhealthy", "unavailable")),
    (errors.Expired, _Kind(504, "Timeout", "expired")),
    (errors.Cancelled, _Kind(499, "Cancelled", "cancelled")),
    (errors.WorkerLost, _Kind(500, "Backend", "worker_lost")),
    (errors.ScoringFailed, _Kind(500, "Backend", "scoring_failed")),
)
_UNFORESEEN = _Kind(500, "Backend", "internal")
_BY_STATUS = {
    400: _Kind(400, "Validation", "invalid"),
    404: _Kind(404, "NotFound", "not_found"),
    405: _Kind(405, "Validation", "not_found"),
    413: _Kind(413, "Validation", "too_large"),
    415: _Kind(415, "Validation", "invalid"),
}

REASONS: tuple[Reason, ...] = tuple(dict.fromkeys([kind.reason for _, kind in _KINDS] + [_UNFORESEEN.reason]))
"""Every reason there is."""
STATUSES: tuple[int, ...] = (200, *dict.fromkeys([kind.status for _, kind in _KINDS] + [405, 415]))
"""Every status there is."""


def explain(error: BaseException) -> Failure:
    """Return what a caller is told about `error`."""
    for known, kind in _KINDS:
        if isinstance(error, known):
            return Failure(
                status=kind.status,
                message=str(error),
                error_type=getattr(error, "error_type", kind.error_type),
                reason=kind.reason,
                field=getattr(error, "field", None),
                retry_after_s=getattr(error, "retry_after_s", None),
            )
    return Failure(
        status=500,
        message="The server failed to answer this request; its log tells more under the request's id.",
        error_type=_UNFORESEEN.error_type,
        reason=_UNFORESEEN.reason,
    )


def refuse(status: int, message: str) -> Failure:
    """Return what a caller is told about an HTTP request that no handler takes (404, 405, 400, 413, 415)."""
    kind = _BY_STATUS.get(status, _Kind(status, "Validation", "invalid"))
    return Failure(status=status, message=message, error_type=kind.error_type, reason=kind.reason)

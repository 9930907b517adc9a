"""What a caller can meet instead of a ranking.

RerankError
├── InvalidRequestError    the request is wrong, or over a limit (400, 404, 413, 422)
├── AuthenticationError    no key, or a wrong one (401, 403)
├── OverloadedError        the queue is full, or the key's rate is used up (429)
├── UnavailableError       not reachable, starting, draining or without a worker (502, 503)
├── RerankTimeoutError     no answer in time (504, or the client's own timeout)
└── ServerError            the server failed (other 5xx), or its answer can't be read
"""

from __future__ import annotations


class RerankError(Exception):
    """Base of all. `status` is None where no answer came; `request_id` finds the request in the server's log."""

    def __init__(self, message: str, status: int | None = None, request_id: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class InvalidRequestError(RerankError):
    """The request is wrong; the message names the field."""


class AuthenticationError(RerankError):
    """The key is missing or unknown."""


class OverloadedError(RerankError):
    """The server is full; the same request may succeed later."""


class UnavailableError(RerankError):
    """The server is not there, or not ready."""


class RerankTimeoutError(RerankError):
    """No answer in time."""


class ServerError(RerankError):
    """The server failed, or answered what can't be read."""


PASSING = (OverloadedError, UnavailableError, RerankTimeoutError)
"""What may be gone at the next try."""
_BY_STATUS: dict[int, type[RerankError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    429: OverloadedError,
    502: UnavailableError,
    503: UnavailableError,
    504: RerankTimeoutError,
}


def of_status(status: int) -> type[RerankError]:
    """The error that a status stands for."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequestError)

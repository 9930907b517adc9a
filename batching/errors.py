"""The exception tree. Every failure that a caller can meet is one of these, and `service/failures.py` alone maps them to statuses.

RerankdError
├── InvalidRequest        the caller's mistake; names the field (400)
│   ├── TooLarge          a limit was exceeded; names the setting (413)
│   └── TooSlow           the body did not arrive in time (408)
├── Unauthorized          no key, or a wrong one (401)
├── NotFound              a named thing does not exist (404)
├── Overloaded            the queue is full now; carries retry_after_s (429)
│   └── RateLimited       this key's own limit is used up (429)
├── Unavailable           starting, draining or without a worker; carries retry_after_s (503)
├── Expired               the deadline passed (504)
├── Cancelled             the caller went away (499, never seen)
├── WorkerLost            the request's own pairs crashed their worker twice (500)
├── ScoringFailed         the worker reported an error for these pairs (500)
└── StartError            the service cannot start; one line for the operator
    ├── SettingError      a setting is wrong: names the variable, the value and the range
    ├── UnsupportedModel  a checkpoint is recognised and refused, or not recognised
    └── LayoutMismatch    shared memory of another version or shape
"""

from __future__ import annotations


class RerankdError(Exception):
    """Base of all; `str()` is fit for the caller, except for StartError, which is fit for the operator."""


class InvalidRequest(RerankdError):
    """The request is wrong; `field` names the part that is."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(InvalidRequest):
    """The request is over a limit; the message names the limit and its setting."""


class TooSlow(InvalidRequest):
    """The caller sent the request more slowly than it may take to answer it."""


class Unauthorized(RerankdError):
    """The key is missing or unknown."""


class NotFound(RerankdError):
    """The named model, path or thing does not exist."""


class Overloaded(RerankdError):
    """The queue is full; the same request may succeed after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Overloaded):
    """The caller's key has used up its own rate; the queue itself may be idle."""


class Unavailable(RerankdError):
    """No answer can be had now: starting, draining, or no worker is up."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Expired(RerankdError):
    """The request's deadline passed before its scores were there."""


class Cancelled(RerankdError):
    """The caller went away; nobody reads this answer."""


class WorkerLost(RerankdError):
    """These pairs crashed their worker as often as is allowed."""


class ScoringFailed(RerankdError):
    """The worker could not score these pairs."""


class StartError(RerankdError):
    """The service or a command cannot start."""


class SettingError(StartError):
    """A setting has a value outside its range; the message names variable, value and range."""


class UnsupportedModel(StartError):
    """The checkpoint can't be served; the message says why and what would work."""


class LayoutMismatch(StartError):
    """A shared-memory file has another magic, version or shape than this program."""

"""A client for callers of a rerankd server, blocking and asynchronous.

Importing it imports httpx and msgspec, and nothing of the server.
"""

from __future__ import annotations

from service.client.answer import Document, Ranked, RerankResult
from service.client.clients import AsyncRerankClient, RerankClient
from service.client.errors import (
    AuthenticationError,
    InvalidRequestError,
    OverloadedError,
    RerankError,
    RerankTimeoutError,
    ServerError,
    UnavailableError,
)
from service.client.retry import Retry

__all__ = [
    "AsyncRerankClient",
    "AuthenticationError",
    "Document",
    "InvalidRequestError",
    "OverloadedError",
    "Ranked",
    "RerankClient",
    "RerankError",
    "RerankResult",
    "RerankTimeoutError",
    "Retry",
    "ServerError",
    "UnavailableError",
]

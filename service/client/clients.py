"""The two clients: one loop each around `httpx`, everything that is decided is decided in `retry.py` and `wire.py`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack, get_args

import httpx

from service.client import wire
from service.client.answer import Document, RerankResult, original_order
from service.client.errors import RerankError
from service.client.retry import Retry

OnError = Literal["raise", "original_order"]
URL = "http://127.0.0.1:8000"
TIMEOUT_S = 60.0
RETRIES = 3
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0)

log = logging.getLogger("rerankd.client")


class Settings(TypedDict, total=False):
    """What both clients are told, once.

    `api_key`: sent as a bearer token. `model`: the served model's name, None for the default. `timeout_s`: of a whole call, retries and
    waits included (60). `retries`: tries after the first (3), or a Retry. `on_error`: "original_order" answers with the incoming order,
    and says why in the result's `error`, instead of raising RerankError.
    """

    api_key: str | None
    model: str | None
    timeout_s: float
    retries: int | Retry
    on_error: OnError


class Options(TypedDict, total=False):
    """What a call may say besides query, documents and top_n; it goes to the server as it is."""

    raw_scores: bool
    instruction: str | None
    max_length: int | None
    max_tokens_per_doc: int | None
    truncate: bool | None
    rank_fields: list[str] | None
    priority: int
    long_documents: Literal["truncate", "chunk"] | None
    chunk_overlap: int | None
    max_chunks: int | None


class _Call:
    """One call's state: what is sent, how often it was tried, how much time is left."""

    def __init__(self, settings: Settings, query: str, documents: Sequence[Document], top_n: int | None, options: Options) -> None:
        if top_n is not None and top_n < 0:
            raise ValueError(f"top_n: expected at least 0, got {top_n}")
        if isinstance(documents, str):
            # It is a sequence of strings too, so that no type checker sees it; the server would take it for one document.
            raise ValueError("documents: expected a sequence of documents, got one text")
        retries = settings.get("retries", RETRIES)
        self.documents, self.top_n = documents, top_n
        self.body = wire.request_body(query, documents, {"model": settings.get("model"), **options})
        self._retry = retries if isinstance(retries, Retry) else Retry(retries=retries)
        self._raises = settings.get("on_error", "raise") == "raise"
        self._deadline = time.monotonic() + settings.get("timeout_s", TIMEOUT_S)
        self._tried = 0

    def start(self) -> dict[str, Any]:
        """Begin a try: the arguments of httpx's `post`."""
        self._tried += 1
        left = max(self._left(), 0.001)
        return {"url": wire.PATH, "content": self.body, "headers": wire.headers(left), "timeout": left}

    def read(self, response: httpx.Response) -> RerankResult:
        """Read an answer; raises RerankError."""
        return wire.read_answer(response, self.documents, self.top_n)

    def failed(self, error: RerankError) -> float | RerankResult:
        """Decide after a failed try: seconds to wait, or the incoming order instead of a ranking; raises `error` otherwise."""
        wait_s = self._retry.wait_s(self._tried, error, self._left())
        if wait_s is not None:
            return wait_s
        if self._raises:
            raise error
        log.warning("no ranking, keeping the incoming order: %s", error)
        return original_order(self.documents, self.top_n, error)

    def _left(self) -> float:
        return self._deadline - time.monotonic()


def _connection(url: str, settings: Settings) -> dict[str, Any]:
    if settings.get("on_error", "raise") not in get_args(OnError):
        raise ValueError(f'on_error: expected "raise" or "original_order", got {settings["on_error"]!r}')
    key = settings.get("api_key")
    return {"base_url": url, "headers": {} if key is None else {"authorization": f"Bearer {key}"}, "limits": _LIMITS}


class RerankClient:
    """Ranks documents on a rerankd server; keeps its connections. Close it, or use it in a `with` block. Safe to share between threads."""

    def __init__(self, url: str = URL, *, transport: httpx.BaseTransport | None = None, **settings: Unpack[Settings]) -> None:
        self._settings = settings
        self._http = httpx.Client(transport=transport, **_connection(url, settings))

    def rerank(self, query: str, documents: Sequence[Document], *, top_n: int | None = None, **options: Unpack[Options]) -> RerankResult:
        """Rank `documents` by how well they answer `query`.

        No documents are an empty ranking, without a call. Raises RerankError, or ValueError for a negative top_n and for a lone text.
        """
        call = _Call(self._settings, query, documents, top_n, options)
        if not documents:
            return original_order(documents, top_n, None)
        while True:
            try:
                return call.read(self._http.post(**call.start()))
            except httpx.HTTPError as error:
                outcome = call.failed(wire.transport_error(error))
            except RerankError as error:
                outcome = call.failed(error)
            if isinstance(outcome, RerankResult):
                return outcome
            time.sleep(outcome)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncRerankClient:
    """The same for asyncio. Close it, or use it in an `async with` block."""

    def __init__(self, url: str = URL, *, transport: httpx.AsyncBaseTransport | None = None, **settings: Unpack[Settings]) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(transport=transport, **_connection(url, settings))

    async def rerank(
        self, query: str, documents: Sequence[Document], *, top_n: int | None = None, **options: Unpack[Options]
    ) -> RerankResult:
        """Rank `documents` by how well they answer `query`; see `RerankClient.rerank`."""
        call = _Call(self._settings, query, documents, top_n, options)
        if not documents:
            return original_order(documents, top_n, None)
        while True:
            try:
                return call.read(await self._http.post(**call.start()))
            except httpx.HTTPError as error:
                outcome = call.failed(wire.transport_error(error))
            except RerankError as error:
                outcome = call.failed(error)
            if isinstance(outcome, RerankResult):
                return outcome
            await asyncio.sleep(outcome)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

"""Fetching an image over HTTP for a caller who must not be able to reach what only we can reach.

The host's addresses are looked up and checked here, and the connection goes to the very address that was checked: a name that resolves
otherwise the second time changes nothing. No proxy, no cookies, no redirect to another host; size and time are bounded.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from urllib.parse import urljoin

import httpcore

from service.images.addresses import NotAllowed, Rules, Target

MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_HEADERS = [(b"accept", b"image/*"), (b"accept-encoding", b"identity"), (b"user-agent", b"rerankd"), (b"connection", b"close")]

Options = Iterable[httpcore.SOCKET_OPTION]


class TooManyBytes(Exception):
    """The answer is longer than allowed."""


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that the rules allow, and to nothing else."""

    def __init__(self, rules: Rules) -> None:
        self._rules, self._inner = rules, httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Options | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that is allowed and answers. Raises NotAllowed when none is allowed."""
        failure: Exception = NotAllowed("has a URL whose host has no address")
        for address in await _addresses(host, port):
            try:
                self._rules.check(address)
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (NotAllowed, httpcore.NetworkError, httpcore.TimeoutException) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Options | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no image is behind a socket file."""
        raise NotAllowed("has a URL of a socket")

    async def sleep(self, seconds: float) -> None:
        """Wait, as the connection pool asks between attempts."""
        await asyncio.sleep(seconds)


async def fetch(url: str, rules: Rules, *, most_bytes: int) -> bytes:
    """The bytes behind `url`. The caller bounds the time.

    Raises NotAllowed for what may not be asked, TooManyBytes, or httpcore's errors and OSError for what can't be had.
    """
    target = rules.target(url)
    for _ in range(1 + MOST_REDIRECTS):
        found = await _get(target, rules, most_bytes)
        if isinstance(found, bytes):
            return found
        after = rules.target(urljoin(_written(target), found))
        if after.host != target.host:
            raise NotAllowed("has a URL that redirects to another host")
        target = after
    raise NotAllowed("has a URL that redirects too often")


async def _get(target: Target, rules: Rules, most_bytes: int) -> bytes | str:
    """The body, or where a redirect leads."""
    async with httpcore.AsyncConnectionPool(network_backend=CheckedBackend(rules), max_connections=1, retries=0) as pool:
        url = httpcore.URL(scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode())
        async with pool.stream("GET", url, headers=[(b"host", _host(target)), *_HEADERS]) as response:
            headers = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in headers:
                return headers[b"location"].decode("latin-1")
            if response.status != _OK:
                raise httpcore.RemoteProtocolError(f"status {response.status}")
            said = headers.get(b"content-length", b"")
            if said.isdigit() and int(said) > most_bytes:
                raise TooManyBytes
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > most_bytes:
                    raise TooManyBytes
            return bytes(body)


async def _addresses(host: str, port: int) -> list[str]:
    """The host's addresses, each once."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (socket.gaierror, UnicodeError):
        raise httpcore.ConnectError("the name is not known") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _host(target: Target) -> bytes:
    name = f"[{target.host}]" if ":" in target.host else target.host
    standard = (target.scheme, target.port) in (("http", 80), ("https", 443))
    return (name if standard else f"{name}:{target.port}").encode()


def _written(target: Target) -> str:
    return f"{target.scheme}://{_host(target).decode()}{target.path}"

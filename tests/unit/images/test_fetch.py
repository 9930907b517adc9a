"""Fetching from a server on loopback: what is allowed arrives, and no trick makes us ask what we may not ask."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpcore
import pytest

from service.images.addresses import NotAllowed, Rules
from service.images.fetch import MOST_REDIRECTS, TooManyBytes, fetch

LOCAL = ["127.0.0.0/8", "::1/128"]
BODY = bytes(range(256)) * 8


class Server:
    """Answers every request with `answer(path)`, raw, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self.port = 0
        self.answer: Callable[[str], bytes] = lambda path: answer(BODY)
        self.pause_s = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(request)
        data = self.answer(request.split(" ")[1])
        if self.pause_s:
            for place in range(0, len(data), 8):
                writer.write(data[place : place + 8])
                await writer.drain()
                await asyncio.sleep(self.pause_s)
        else:
            writer.write(data)
            await writer.drain()


def answer(body: bytes, status: str = "200 OK", *, length: bool = True, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


def run(scene: Callable[[Server], Awaitable[None]]) -> None:
    async def play() -> None:
        async with serving() as server, asyncio.timeout(20):
            await scene(server)

    asyncio.run(play())


def rules(server: Server, *more: str, networks: list[str] = LOCAL) -> Rules:
    return Rules.of([f"127.0.0.1:{server.port}", f"localhost:{server.port}", *more], networks)


def test_what_is_allowed_arrives() -> None:
    """Bytes come back as they were sent, with a length and without, and the request carries nothing of ours."""

    async def scene(server: Server) -> None:
        assert await fetch(f"http://127.0.0.1:{server.port}/a.png?x=1#f", rules(server), most_bytes=len(BODY)) == BODY
        assert server.asked[0].startswith("GET /a.png?x=1 HTTP/1.1\r\n")
        assert {line.split(":")[0].lower() for line in server.asked[0].split("\r\n")[1:] if line} == {
            "host", "accept", "accept-encoding", "user-agent", "connection"
        }  # fmt: skip
        server.answer = lambda path: answer(BODY, length=False)
        assert await fetch(f"http://localhost:{server.port}/", rules(server), most_bytes=len(BODY)) == BODY

    run(scene)


@pytest.mark.parametrize("length", [True, False])
def test_a_body_over_the_limit_is_not_read(length: bool) -> None:
    """A length that is announced is believed at once; without one reading stops at the limit."""

    async def scene(server: Server) -> None:
        server.answer = lambda path: answer(bytes(4_000_000), length=length)
        with pytest.raises(TooManyBytes):
            await fetch(f"http://127.0.0.1:{server.port}/", rules(server), most_bytes=1000)

    run(scene)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "0"])
def test_loopback_is_out_of_reach_under_every_name(host: str) -> None:
    """An allowed host that turns out to be this machine is not connected to, however it is written."""

    async def scene(server: Server) -> None:
        with pytest.raises((NotAllowed, httpcore.ConnectError)):
            await fetch(f"http://{host}:{server.port}/", Rules.of([f"*:{server.port}"], []), most_bytes=1000)
        assert server.connections == 0

    run(scene)


def test_the_address_that_was_checked_is_the_one_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is looked up once and answers with a public and a private address is never reached at the private one."""

    async def scene(server: Server) -> None:
        looked_up: list[str] = []

        async def resolve(host: str, port: int, **_: object) -> list[tuple[object, object, object, str, tuple[str, int]]]:
            looked_up.append(host)
            return [(None, None, None, "", ("127.0.0.1", port)), (None, None, None, "", ("10.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        with pytest.raises(NotAllowed, match="no public address"):
            await fetch(f"http://example.org:{server.port}/", Rules.of([f"*:{server.port}"], []), most_bytes=1000)
        assert looked_up == ["example.org"]
        assert server.connections == 0
        found = await fetch(f"http://example.org:{server.port}/", Rules.of([f"*:{server.port}"], LOCAL), most_bytes=len(BODY))
        assert found == BODY
        assert f"Host: example.org:{server.port}".lower() in server.asked[0].lower()
        assert looked_up == ["example.org", "example.org"]

    run(scene)


def test_redirects_stay_on_their_host() -> None:
    """A redirect on the same host is followed, one to another host is not, though that host is allowed too; nor is another scheme."""

    async def scene(server: Server) -> None:
        root = f"http://127.0.0.1:{server.port}"
        server.answer = lambda path: answer(BODY) if path == "/there" else answer(b"", "302 Found", Location="/there")
        assert await fetch(f"{root}/here", rules(server), most_bytes=len(BODY)) == BODY
        for location in (
            f"http://localhost:{server.port}/",
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "//localhost/",
            "http://127.0.0.1:1/",
        ):
            server.asked.clear()
            server.answer = lambda path, to=location: answer(b"", "302 Found", Location=to)
            with pytest.raises(NotAllowed):
                await fetch(f"{root}/here", rules(server, "*"), most_bytes=len(BODY))
            assert len(server.asked) == 1

    run(scene)


def test_redirects_come_to_an_end() -> None:
    """A circle is left after a few rounds."""

    async def scene(server: Server) -> None:
        server.answer = lambda path: answer(b"", "307 Temporary Redirect", Location="/again")
        with pytest.raises(NotAllowed, match="too often"):
            await fetch(f"http://127.0.0.1:{server.port}/", rules(server), most_bytes=1000)
        assert server.connections == 1 + MOST_REDIRECTS

    run(scene)


@pytest.mark.parametrize("raw", [answer(b"", "404 Not Found"), answer(b"", "500 Oh"), b"", b"SSH-2.0-OpenSSH\r\n", answer(BODY)[:-7]])
def test_what_is_no_answer_is_an_error(raw: bytes) -> None:
    """Other statuses, other protocols and answers that break off are httpcore's errors, never bytes."""

    async def scene(server: Server) -> None:
        server.answer = lambda path: raw
        with pytest.raises((httpcore.NetworkError, httpcore.ProtocolError)):
            await fetch(f"http://127.0.0.1:{server.port}/", rules(server), most_bytes=len(BODY))

    run(scene)


def test_a_server_that_drips_is_left_when_the_time_is_up() -> None:
    """The caller's time bounds all of it: name, connection, headers and body together."""

    async def scene(server: Server) -> None:
        server.pause_s = 0.05
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await fetch(f"http://127.0.0.1:{server.port}/", rules(server), most_bytes=len(BODY))
        assert time.monotonic() - began < 2.0

    run(scene)


def test_environment_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect where we don't look; none is used."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def scene(server: Server) -> None:
        assert await fetch(f"http://127.0.0.1:{server.port}/", rules(server), most_bytes=len(BODY)) == BODY

    run(scene)

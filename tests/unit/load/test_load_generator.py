"""Both loops of the load generator against a small server of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from service.load.connection import Target, prepare
from service.load.generator import Bounds, Generator, Payload
from service.load.shapes import SHAPES
from service.load.stats import percentile

NATIVE = SHAPES["native"]
ANSWER = b'{"results": [{"index": 0}, {"index": 1}], "usage": {"total_tokens": 40}}'
TWO = Payload(prepare("POST", "/rerank", b'{"query": "q", "documents": ["a", "b"]}'), pairs=2)

Reply = Callable[[int], Awaitable[bytes]]


def ok(body: bytes = ANSWER) -> bytes:
    """Write a 200 around a body."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def serve(reply: Reply) -> tuple[asyncio.Server, Target]:
    """Answer the nth request with `reply(n)`; nothing else is looked at."""
    numbers = iter(range(10**9))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"]}"):
                writer.write(await reply(next(numbers)))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, Target("127.0.0.1", server.sockets[0].getsockname()[1])


async def drive(reply: Reply, bounds: Bounds, *, callers: int = 0, rate: float = 0) -> Generator:
    """Run one loop against a server that answers by `reply`."""
    server, target = await serve(reply)
    async with server:
        generator = Generator(target, [TWO], NATIVE, bounds)
        await (generator.open(rate, seed=0) if rate else generator.closed(callers))
    return generator


def test_a_closed_loop_sends_exactly_what_it_was_asked_for() -> None:
    """A count is neither exceeded nor missed, however many callers share it, and usage is believed where tokens are unknown."""

    async def reply(_number: int) -> bytes:
        await asyncio.sleep(0.001)
        return ok()

    generator = asyncio.run(drive(reply, Bounds(seconds=20, requests=101), callers=7))
    assert [answer.status for answer in generator.answers] == [200] * 101
    assert sum(answer.tokens for answer in generator.answers) == 101 * 40


def test_failures_are_told_apart_and_never_end_the_run() -> None:
    """A status, a short answer, a broken connection, garbage and silence each count as what they are."""

    async def reply(number: int) -> bytes:
        if number == 4:
            await asyncio.sleep(5)
        return [
            b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
            ok(b'{"results": [{"index": 0}]}'),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER),
            b"GARBAGE\r\n\r\n",
            ok(),
            ok(),
        ][min(number, 5)]

    bounds = Bounds(seconds=20, requests=7, timeout_s=0.5, pause_after_error_s=0)
    answers = asyncio.run(drive(reply, bounds, callers=1)).answers
    assert [answer.status for answer in answers] == [503, 0, 200, 0, 0, 200, 200]
    assert [answer.reason.split()[0] for answer in answers if answer.reason] == ["503", "an", "ResponseError", "TimeoutError"]


def test_nothing_listens_is_an_error_of_each_request() -> None:
    """Without a server every request fails at once and is counted."""

    async def nobody() -> Generator:
        server, target = await serve(lambda _number: asyncio.sleep(0, ok()))
        server.close()
        await server.wait_closed()
        generator = Generator(target, [TWO], NATIVE, Bounds(seconds=5, requests=3, pause_after_error_s=0))
        await generator.closed(1)
        return generator

    assert [answer.status for answer in asyncio.run(nobody()).answers] == [0, 0, 0]


def test_an_open_loop_hides_no_stall() -> None:
    """When the server stops for half a second, the requests due meanwhile carry that wait in their latency."""
    lock = asyncio.Lock()

    async def reply(number: int) -> bytes:
        async with lock:
            await asyncio.sleep(0.5 if number == 20 else 0)
        return ok()

    bounds = Bounds(seconds=1.2, connections=1)
    began = time.perf_counter()
    answers = asyncio.run(drive(reply, bounds, rate=100)).answers
    assert time.perf_counter() - began < 10
    assert {answer.status for answer in answers} == {200}
    stalled = [answer.latency_s for answer in answers if answer.latency_s > 0.1]
    # A generator that waited for the stalled answer before sending the next would show one slow request, not about forty.
    assert len(stalled) >= 15
    assert percentile([answer.latency_s for answer in answers], 0.99) > 0.3

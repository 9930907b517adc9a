"""Callers as they come: in a hurry, in crowds, hanging up, slow, broken or hostile. The service answers each, and everyone else as well."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import Iterator

import pytest

from batching.board import Board
from batching.queue import Queue
from tests.processes.http import Answer, Caller, Closed
from tests.processes.service import Service, ask, asked, is_right, scorers

QUERY = "where does the river end"
PAGE = [f"stone number {number} lies beside the river in the garden" for number in range(200)]
BODY = asked(QUERY, ["one"])
POST = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Two HTTP processes and one worker that scores 10,000 tokens a second; the queue holds 4 s of work."""
    with Service(scorers(seconds_per_token=0.0001), workers=2, token_budget=512, queue_tokens=40_000, request_timeout=15) as service:
        warm_up = asyncio.run(ask(service.address, body=asked(QUERY, PAGE)))
        assert is_right(warm_up, QUERY, PAGE)
        yield service


@pytest.fixture(autouse=True)
def _quiet_before_and_after(service: Service) -> Iterator[None]:
    yield
    assert service.runtime
    queue = Queue(service.runtime / "0")
    service.until(lambda: not any(arena.states.any() or arena.reserved_tokens for arena in queue.arenas))
    queue.close()
    assert is_right(asyncio.run(ask(service.address, body=BODY)), QUERY, ["one"])


def pairs(service: Service) -> int:
    """Pairs scored so far."""
    assert service.runtime
    board = Board(service.runtime / "0" / "board")
    found = sum(worker.pairs for worker in board.workers())
    board.close()
    return found


def test_a_caller_who_hangs_up_is_not_worked_for(service: Service) -> None:
    """What was not leased when the connection closed is never scored, and its place in the queue is free at once."""

    async def main() -> None:
        before = pairs(service)
        for _ in range(5):
            async with Caller(service.address) as caller:
                await caller.send("/rerank", asked(QUERY, PAGE))
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        assert pairs(service) - before < 2.5 * len(PAGE)

    asyncio.run(main())


def test_a_callers_deadline_is_kept(service: Service) -> None:
    """X-Request-Timeout: 504 at the deadline, or at once when the rate says that it can't be met; never a late answer."""

    async def main() -> None:
        crowd = [asyncio.ensure_future(ask(service.address, body=asked(QUERY, PAGE[:120]))) for _ in range(6)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(service.address, body=asked(QUERY, PAGE), X_Request_Timeout="0.3") for _ in range(6)))
        assert time.monotonic() - began < 1.0
        assert {answer.status for answer in answers} <= {504, 429}
        assert 504 in {answer.status for answer in answers}
        assert all(isinstance(answer.json["detail"], str) for answer in answers)
        assert {answer.status for answer in await asyncio.gather(*crowd)} == {200}

    asyncio.run(main())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(service: Service) -> None:
    """Ten times what the queue holds: each request is answered rightly or refused within moments, with a Retry-After that makes sense."""

    async def one() -> tuple[float, Answer]:
        began = time.monotonic()
        answer = await ask(service.address, body=asked(QUERY, PAGE))
        return time.monotonic() - began, answer

    async def main() -> None:
        found = await asyncio.gather(*(one() for _ in range(100)))
        accepted = [answer for _, answer in found if answer.status == 200]
        refused = [(took, answer) for took, answer in found if answer.status != 200]
        assert len(accepted) >= 8
        assert all(is_right(answer, QUERY, PAGE) for answer in accepted)
        assert {answer.status for _, answer in refused} == {429}
        assert all(1 <= int(answer.headers["retry-after"]) <= 10 for _, answer in refused)
        assert statistics.median(took for took, _ in refused) < 1.0

    asyncio.run(main())


def test_more_than_the_queue_could_ever_hold_is_too_large(service: Service) -> None:
    """413 with the setting, not 429 for ever."""
    answer = asyncio.run(ask(service.address, body=asked(QUERY, [f"{number} " + "river " * 400 for number in range(300)])))
    assert answer.status == 413
    assert "RERANKER_QUEUE_TOKENS" in answer.json["detail"]


def test_slow_readers_hold_nobody_up(service: Service) -> None:
    """Callers who read their answers drop by drop get them whole, and others are served meanwhile."""

    async def main() -> None:
        slow = [Caller(service.address) for _ in range(8)]
        for caller in slow:
            await caller.send("/rerank", asked(QUERY, PAGE[:60], return_documents=True))
        reading = [asyncio.ensure_future(caller.answer(pause_s=0.3)) for caller in slow]
        for _ in range(10):
            assert is_right(await ask(service.address, body=BODY), QUERY, ["one"])
        assert all(is_right(answer, QUERY, PAGE[:60]) for answer in await asyncio.gather(*reading))
        for caller in slow:
            caller.hang_up()

    asyncio.run(main())


def test_hundreds_of_half_requests_hold_nobody_up(service: Service) -> None:
    """Connections that send half a header, or half a body, and then nothing: others are answered as if they were not there."""

    async def main() -> None:
        stuck = []
        for number in range(400):
            reader, writer = await asyncio.open_connection(*_host_port(service))
            writer.write(POST if number % 2 else POST + b"Content-Length: 5000\r\n\r\n{")
            stuck.append((reader, writer))
        began = time.monotonic()
        for _ in range(20):
            assert is_right(await ask(service.address, body=BODY), QUERY, ["one"])
        assert time.monotonic() - began < 5.0
        for _, writer in stuck:
            writer.transport.abort()

    asyncio.run(main())


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + CHUNKS + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_no_request_is_smuggled_in(service: Service, data: bytes) -> None:
    """With a length and chunks both, the body is read as chunks and the connection closed: what follows is not taken for a request."""
    answer = _raw(service, data)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answer
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST + b"Content-Length: %d\r\nContent-Length: 5\r\n\r\n" % len(BODY) + BODY, 400),
        (POST + b"Content-Length: -1\r\n\r\n" + BODY, 400),
        (POST + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY, 400),
        (POST + b"Content-Length : %d\r\n\r\n" % len(BODY) + BODY, 400),
        (POST + b"X-A: a\r\n b\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS, 400),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS, 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 5000 + b"\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200 + b"\r\n\r\n", 400),
    ],
)
def test_broken_http_is_refused_and_the_connection_closed(service: Service, data: bytes, status: int) -> None:
    """What could be read in two ways, or is too large, is answered 4xx once, and nothing more is read from that connection."""
    answer = _raw(service, data)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_descriptors_run_out_and_come_back() -> None:
    """More connections than the processes may have descriptors: when they go, the service answers as before."""

    async def main(service: Service) -> None:
        stuck = []
        for _ in range(400):
            try:
                async with asyncio.timeout(0.5):
                    stuck.append(await asyncio.open_connection(*_host_port(service)))
            except (OSError, TimeoutError):
                break
        await asyncio.sleep(0.5)
        for _, writer in stuck:
            writer.transport.abort()
        async with asyncio.timeout(10):
            while True:
                try:
                    async with asyncio.timeout(2):
                        assert is_right(await ask(service.address, body=BODY), QUERY, ["one"])
                        return
                except (OSError, Closed, TimeoutError):
                    await asyncio.sleep(0.1)

    service = Service(scorers())
    service._command = ["bash", "-c", 'ulimit -n 128; exec "$@"', "bash", *service._command]
    with service:
        asyncio.run(main(service))
        assert service.stop() == 0


def _host_port(service: Service) -> tuple[str, int]:
    host, _, port = service.address.removeprefix("http://").rpartition(":")
    return host, int(port)


def _raw(service: Service, data: bytes) -> bytes:
    """Everything that comes back until the other end closes."""
    with socket.create_connection(_host_port(service), timeout=5) as connection:
        found = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                found += part
        except ConnectionError:
            pass
        return found

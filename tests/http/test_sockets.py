"""What comes over a real connection: broken and hostile requests never reach a model and are never a 5xx; slow ones are let go."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from service import bodies
from tests.http.sockets import Live, live, sent_and_read

BODY = b'{"query":"a","documents":["b"]}'
POST = b"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Live]:
    with live() as one:
        yield one


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(POST + b"Content-Length: 31\r\nContent-Length: 4\r\n\r\n" + BODY, 400, id="two lengths"),
        pytest.param(POST + b"Content-Length: +31\r\n\r\n" + BODY, 400, id="signed length"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n" + BODY, 400, id="negative length"),
        pytest.param(POST + b"Content-Length: 0x1f\r\n\r\n" + BODY, 400, id="hexadecimal length"),
        pytest.param(POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS, 400, id="unknown encoding"),
        pytest.param(POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS, 400, id="chunked not last"),
        pytest.param(POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + CHUNKS, 400, id="control character"),
        pytest.param(POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS, 400, id="blank before the colon"),
        pytest.param(POST + b"X-A: b\r\n c\r\n" + LENGTH + BODY, 400, id="folded header"),
        pytest.param(POST + b"X-A: a\x00b\r\n" + LENGTH + BODY, 400, id="zero byte"),
        pytest.param(POST + b"X-A: a\rX-B: c\r\n" + LENGTH + BODY, 400, id="bare carriage return"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY, 499, id="chunk without a size"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 18 + b"\r\n" + BODY, 499, id="chunk size over 64 bits"),
        pytest.param(POST + b"X-A: " + b"a" * 2_000_000 + b"\r\n\r\n", 431, id="huge header"),
        pytest.param(POST + b"".join(b"X-%d: a\r\n" % number for number in range(5000)) + b"\r\n", 431, id="5,000 headers"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, id="long path"),
        pytest.param(b"\x16\x03\x01\x00nonsense\r\n\r\n", 400, id="TLS where there is none"),
        pytest.param(b"GET /health\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(b"GET /health HTTP/3.0\r\nHost: x\r\n\r\n", 400, id="HTTP/3.0"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, id="HTTP/2 where it is off"),
    ],
)
def test_a_broken_request_reaches_no_model(served: Live, sent: bytes, status: int) -> None:
    """It is refused for what it is, the connection is closed, and what follows on it is never read as a request of its own."""
    before = served.scored()
    answer = served.raw(sent + SMUGGLED, patience_s=5.0)
    assert _status(answer) == status, answer[:200]
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert served.scored() == before


@pytest.mark.parametrize(
    "order", [(b"Content-Length: 4", b"Transfer-Encoding: chunked"), (b"Transfer-Encoding: chunked", b"Content-Length: 4")]
)
def test_a_length_beside_chunks_hides_no_second_request(served: Live, order: tuple[bytes, bytes]) -> None:
    """Chunks count, as the standard says, and the connection is closed after it: there is no place for a second request to hide in."""
    before = served.scored()
    answer = served.raw(POST + b"\r\n".join(order) + b"\r\n\r\n" + CHUNKS + SMUGGLED)
    assert _status(answer) == 200
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer
    assert served.scored() == before + 1


@pytest.mark.parametrize("path", ["/assets/../../etc/passwd", "/assets/%2e%2e/%2e%2e/etc/passwd", "/%00%ff", "/%zz", "/\u00fc"])
def test_a_strange_path_is_404(served: Live, path: str) -> None:
    """And no file but ours."""
    answer = served.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert _status(answer) == 404, answer[:200]


def test_requests_on_one_connection_are_answered_in_order(served: Live) -> None:
    """Pipelined calls, in one packet."""
    answer = served.raw((POST + LENGTH + BODY) * 3 + b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.rindex(b"results") < answer.rindex(b"version")


def test_a_head_that_never_ends_is_let_go() -> None:
    """A byte at a time, by many at once: each is closed when the time for a head is over, and others are served meanwhile."""
    with live(header_timeout_s=1.0) as one:
        slow = [one.connect() for _ in range(50)]
        began = time.monotonic()
        for connection in slow:
            connection.sendall(b"POST /rerank HTTP/1.1\r\nHost: x\r\nX-A: ")
        assert _status(one.raw(POST + b"Connection: close\r\n" + LENGTH + BODY)) == 200
        for _ in range(3):
            time.sleep(0.2)
            for connection in slow:
                connection.sendall(b"a")
        for connection in slow:
            with connection:
                connection.settimeout(10.0)
                assert _status(sent_and_read(connection, b"")) in {0, 408}
        assert time.monotonic() - began < 10.0


def test_a_body_that_never_ends_is_let_go() -> None:
    """It gets the time that the answer may take, then 408; the connection is closed and nothing is held."""
    with live(request_timeout="1") as one:
        answer = one.raw(POST + b"Content-Length: 1000\r\n\r\n{")
        assert _status(answer) == 408
        assert b"did not arrive" in answer
        metrics = one.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"rerankd_requests_in_flight 0.0" in metrics


def test_a_body_over_the_limit_is_refused_before_it_is_sent() -> None:
    """By its announced length, or when it passes the limit."""
    with live(max_body_bytes="2K") as one:
        assert _status(one.raw(POST + b"Content-Length: 3000\r\n\r\n", patience_s=3.0)) == 413
        chunk = b"%x\r\n%s\r\n" % (1500, b" " * 1500)
        assert _status(one.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2, patience_s=3.0)) == 413


def test_bodies_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many send slowly, together they hold so much and no more; who gives up makes room for others."""
    monkeypatch.setattr(bodies, "LEAST_BYTES", 0)
    with live(max_body_bytes="2K") as one:
        slow = [one.connect() for _ in range(9)]
        for connection in slow:
            connection.sendall(POST + b"Content-Length: 2048\r\n\r\n" + b" " * 1800)
        one.until_held(9 * 1800)
        answer = one.raw(POST + b"Connection: close\r\nContent-Length: 1800\r\n\r\n" + BODY.ljust(1800))
        assert _status(answer) == 429
        assert b"RERANKER_MAX_BODY_BYTES" in answer
        assert b"retry-after: 1" in answer
        for connection in slow:
            connection.close()
        one.until_held(0)
        for _ in range(2):  # what was answered holds nothing either
            assert _status(one.raw(POST + b"Connection: close\r\nContent-Length: 2000\r\n\r\n" + BODY.ljust(2000))) == 200
        one.until_held(0)


def test_a_caller_who_expects_to_be_told_is(served: Live) -> None:
    """`Expect: 100-continue`, which curl sends with large bodies."""
    with served.connect() as one:
        one.sendall(POST + b"Connection: close\r\nExpect: 100-continue\r\n" + LENGTH)
        assert one.recv(100).startswith(b"HTTP/1.1 100")
        assert b"200 OK" in sent_and_read(one, BODY)


def test_hundreds_of_connections_that_say_nothing(served: Live) -> None:
    """Cost a file each and no answer anybody else waits for."""
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(500)]
    began = time.monotonic()
    assert _status(served.raw(POST + b"Connection: close\r\n" + LENGTH + BODY)) == 200
    assert time.monotonic() - began < 5.0
    for one in idle:
        one.close()

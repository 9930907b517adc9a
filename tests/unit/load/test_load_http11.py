"""The benchmark's response parser, on every way that a byte stream can be cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.load.http11 import ResponseError, ResponseParser, header

SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n" + b'{"results": [1]}\n'
CHUNKED = b"HTTP/1.1 429 Too Many\r\nTransfer-Encoding: chunked\r\nRetry-After: 2\r\n\r\n5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n"


@given(st.lists(st.integers(0, len(SIZED) + len(CHUNKED)), max_size=12))
def test_two_responses_are_read_alike_however_they_are_cut(cuts: list[int]) -> None:
    """The same two responses come out of the same bytes, whatever pieces they arrive in, if each is asked for in turn."""
    for whole, status, body in ((SIZED, 200, b'{"results": [1]}\n'), (CHUNKED, 429, b"hello world")):
        parser = ResponseParser()
        edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
        answers = [parser.feed(whole[a:b]) for a, b in pairwise(edges) if a < b]
        assert answers[:-1] == [None] * (len(answers) - 1)
        last = answers[-1]
        assert last is not None
        assert (last.status, last.body) == (status, body)


def test_the_next_response_on_a_connection_starts_clean() -> None:
    """One parser reads one response after another."""
    parser = ResponseParser()
    for _ in range(3):
        response = parser.feed(SIZED)
        assert response is not None
        assert response.keep_alive


def test_interim_responses_are_skipped() -> None:
    """100 Continue is not the answer."""
    response = ResponseParser().feed(b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED)
    assert response is not None
    assert response.status == 200


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """Without framing the body is whole at end of file, and the connection is spent; a framed body cut short is no answer."""
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\npart one, ") is None
    assert parser.feed(b"part two") is None
    response = parser.eof()
    assert response is not None
    assert response.body == b"part one, part two"
    assert not response.keep_alive
    cut = ResponseParser()
    assert cut.feed(SIZED[:-3]) is None
    assert cut.eof() is None


def test_a_response_without_a_body_is_whole_at_once() -> None:
    """204 has no body whatever follows."""
    response = ResponseParser().feed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert response is not None
    assert response.body == b""


@pytest.mark.parametrize("bad", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n"])
def test_garbage_is_refused(bad: bytes) -> None:
    """What is no HTTP raises and never looks like an answer."""
    with pytest.raises(ResponseError):
        ResponseParser().feed(bad)


def test_headers_are_found_by_whole_name() -> None:
    """A name that ends like another is not mistaken for it."""
    head = b"\r\nx-content-length: 3\r\ncontent-length:  12 \r\nconnection: close"
    assert header(head, b"content-length") == b"12"
    assert header(head, b"connection") == b"close"
    assert header(head, b"length") is None

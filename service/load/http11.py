"""HTTP/1.1 answers read at the least cost: the load shares two cores with the server, so a request must cost microseconds.

Pure: bytes in, responses out. It reads what benchmark servers send (Content-Length, chunked, or until close) and is no general client:
no redirects, no compression, no TLS. Framing is RFC 9112 section 6.
"""

from __future__ import annotations

from dataclasses import dataclass

_BLANK = b"\r\n\r\n"


class ResponseError(Exception):
    """The server's bytes are not an HTTP/1.1 response that this client can read."""


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer; `head` is the header block, lower case, every line with a CRLF before it."""

    status: int
    head: bytes
    body: bytes

    @property
    def keep_alive(self) -> bool:
        """Whether the connection takes another request."""
        return header(self.head, b"connection") != b"close"


def header(head: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, or None; `name` is lower case."""
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


class ResponseParser:
    """Turn a byte stream into responses, however it is cut into pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Response | None:
        """Take bytes; return a response once it is whole. Raises ResponseError."""
        self._buffer += data
        while (end := self._buffer.find(_BLANK)) >= 0:
            status, head = _status_and_head(bytes(self._buffer[:end]))
            if status >= 200:
                return self._with_body(status, head, end + len(_BLANK))
            del self._buffer[: end + len(_BLANK)]  # 100 Continue and its like: the answer is still to come
        return None

    def eof(self) -> Response | None:
        """The server closed: return the response whose body ends with the connection, if there is one."""
        end = self._buffer.find(_BLANK)
        if end < 0:
            return None
        status, head = _status_and_head(bytes(self._buffer[:end]))
        if _framed(head):
            return None
        return Response(status, head + b"\r\nconnection: close", bytes(self._buffer[end + len(_BLANK) :]))

    def _with_body(self, status: int, head: bytes, start: int) -> Response | None:
        if header(head, b"transfer-encoding") == b"chunked":
            body, stop = _chunks(self._buffer, start)
        elif (length := header(head, b"content-length")) is not None:
            stop = start + _number(length, 10)
            body = bytes(self._buffer[start:stop]) if len(self._buffer) >= stop else None
        else:
            body, stop = (b"" if status in (204, 304) else None), start
        if body is None:
            return None
        del self._buffer[:stop]
        return Response(status, head, body)


def _framed(head: bytes) -> bool:
    return header(head, b"content-length") is not None or header(head, b"transfer-encoding") is not None


def _chunks(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    parts: list[bytes] = []
    while (line := buffer.find(b"\r\n", at)) >= 0:
        size = _number(bytes(buffer[at:line]).split(b";")[0], 16)
        at = line + 2
        if len(buffer) < at + size + 2:
            break
        if size == 0:
            return b"".join(parts), at + 2
        parts.append(bytes(buffer[at : at + size]))
        at += size + 2
    return None, at


def _status_and_head(block: bytes) -> tuple[int, bytes]:
    line, mark, head = block.partition(b"\r\n")
    parts = line.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
        raise ResponseError(f"not a status line: {line[:80]!r}")
    return _number(parts[1], 10), (mark + head).lower()


def _number(text: bytes, base: int) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise ResponseError(f"not a number: {text[:40]!r}") from error

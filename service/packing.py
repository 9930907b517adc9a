"""The answer as it leaves: compressed only where the caller asks for it and where it pays."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping

import brotli
import msgspec

LEAST_BYTES = 4096
"""Smaller answers fit into few packets as they are; compressing them costs time and saves none."""
LEVEL = 1
BROTLI_QUALITY = 1
_ZERO = re.compile(r"q=0(\.0*)?")


class Answer(msgspec.Struct, frozen=True):
    """What is sent back: the body as it is sent, its media type, and headers besides those that tell of the two (names in lower case)."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]
    status: int = 200

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return all its headers, as ASGI has them."""
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        return [*fields, (b"content-type", self.media_type.encode("latin-1")), (b"content-length", b"%d" % len(self.body))]


def packed(content: bytes, media_type: str, headers: Mapping[str, str], asked: Mapping[str, str]) -> Answer:
    """Return the answer; `asked` are the request's headers."""
    if len(content) < LEAST_BYTES:
        return Answer(content, media_type, headers)
    given = {**headers, "vary": "accept-encoding"}
    accepted = asked.get("accept-encoding", "")
    if takes(accepted, "br"):
        content = brotli.compress(content, quality=BROTLI_QUALITY)
        given["content-encoding"] = "br"
    elif takes(accepted, "gzip", "*"):
        content = gzip.compress(content, LEVEL, mtime=0)
        given["content-encoding"] = "gzip"
    return Answer(content, media_type, given)


def takes(accept_encoding: str, *names: str) -> bool:
    """Say whether an Accept-Encoding header names one of these codings without forbidding it."""
    for part in accept_encoding.lower().split(","):
        name, _, rest = part.partition(";")
        if name.strip() in names:
            return not _ZERO.fullmatch(rest.replace(" ", ""))
    return False

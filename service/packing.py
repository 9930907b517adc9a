"""The answer as it leaves: compressed only where the caller asks for it and where it pays."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping

import brotli
from litestar import Response

LEAST_BYTES = 4096
"""Smaller answers fit into few packets as they are; compressing them costs time and saves none."""
LEVEL = 1
BROTLI_QUALITY = 1
_ZERO = re.compile(r"q=0(\.0*)?")


def packed(content: bytes, media_type: str, headers: Mapping[str, str], asked: Mapping[str, str], status: int = 200) -> Response[bytes]:
    """Return the response; `asked` are the request's headers."""
    given = dict(headers)
    if len(content) >= LEAST_BYTES:
        given["vary"] = "accept-encoding"
        accepted = asked.get("accept-encoding", "")
        if takes(accepted, "br"):
            content = brotli.compress(content, quality=BROTLI_QUALITY)
            given["content-encoding"] = "br"
        elif takes(accepted, "gzip", "*"):
            content = gzip.compress(content, LEVEL, mtime=0)
            given["content-encoding"] = "gzip"
    return Response(content, media_type=media_type, headers=given, status_code=status)


def takes(accept_encoding: str, *names: str) -> bool:
    """Say whether an Accept-Encoding header names one of these codings without forbidding it."""
    for part in accept_encoding.lower().split(","):
        name, _, rest = part.partition(";")
        if name.strip() in names:
            return not _ZERO.fullmatch(rest.replace(" ", ""))
    return False

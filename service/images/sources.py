"""Images as callers write them: a data URL, bare base64, or a URL. Pure."""

from __future__ import annotations

import base64
import binascii
import re

from batching.errors import InvalidRequest
from service.schemas import Picture
from service.settings import PREFIX

_URL = re.compile(r"https?://", re.IGNORECASE)
_DATA = re.compile(r"data:[^,;]{0,100}(;[^,;]{0,100}){0,4},", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")


def is_url(picture: Picture) -> bool:
    """Whether the image has to be fetched."""
    return _URL.match(picture.source) is not None


def embedded(picture: Picture, most_bytes: int) -> bytes:
    """The bytes of an image that came with the request. Raises InvalidRequest."""
    text = picture.source
    if text[:5].lower() == "data:":
        head = _DATA.match(text)
        if head is None or not head[0].lower().endswith(";base64,"):
            raise refused(picture, "is a data URL without ;base64,")
        text = text[head.end() :]
    if len(text) * 3 // 4 > most_bytes + 4 + len(text) // 16:  # padding and blanks may stand in it
        raise too_many_bytes(picture, most_bytes)
    try:
        data = base64.b64decode(text.translate(_BLANKS), validate=True)
    except (binascii.Error, ValueError):
        raise refused(picture, "is neither a URL nor base64") from None
    if len(data) > most_bytes:
        raise too_many_bytes(picture, most_bytes)
    return data


def refused(picture: Picture, why: str) -> InvalidRequest:
    """The error for an image that can't be ranked; `why` continues "the image"."""
    return InvalidRequest(f"{picture.field}: the image {why}", picture.field)


def too_many_bytes(picture: Picture, most: int) -> InvalidRequest:
    """The error for an image whose file is too large."""
    return refused(picture, f"has more than {most:,} bytes ({PREFIX}IMAGE_BYTES)")

"""What Schemathesis has to be told to speak MessagePack. Loaded by it, in its own environment."""

from __future__ import annotations

from typing import Any

import msgspec
import schemathesis


@schemathesis.serializer("application/msgpack")
def pack(context: Any, value: Any) -> bytes:
    """Encode a body; one with numbers that MessagePack can't hold becomes an empty one, which is wrong too."""
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError):
        return b""


@schemathesis.deserializer("application/msgpack")
def unpack(context: Any, response: Any) -> Any:
    """Decode an answer."""
    return msgspec.msgpack.decode(response.content)

"""What a dialect is: how a call looks before its body is read, what reading yields, and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from service.dialects.body import Body
from service.schemas import RerankRequest, RerankResult

Errors = Literal["common", "tei", "dashscope", "openai"]
"""The shape of a dialect's error bodies; see `errors.py`."""


class Call(msgspec.Struct, kw_only=True):
    """One HTTP call as the dialects see it; `dialect` is set by `table.read` as soon as it is known, for the error body."""

    path: str
    dialect: str
    agent: str = ""
    pinecone: bool = False
    keyed: bool = False
    """An Api-Key came on Pinecone's path; it may be anybody's way to show a key."""
    packed_in: bool = False
    packed: bool = False
    """The answer is wanted as MessagePack; `packed_in`: the body is MessagePack."""
    max_documents: int = 2000
    request_id: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What goes back: anything msgspec can encode, and the dialect's own headers."""

    content: Any
    headers: dict[str, str] = {}


class Decoded(msgspec.Struct, frozen=True):
    """A call's body, read: what is to be ranked (one request per distinct query, possibly none) and how to answer.

    `encode` takes one result per request, in the same order; it raises ScoringFailed where a document has no score and the dialect
    has no way to say so.
    """

    requests: tuple[RerankRequest, ...]
    encode: Callable[[Sequence[RerankResult]], Answer]


class Dialect(msgspec.Struct, frozen=True):
    """One wire format: `decode` raises InvalidRequest or TooLarge; `answers` are the types of what its `encode` gives."""

    name: str
    decode: Callable[[Body, Call], Decoded]
    answers: tuple[Any, ...]
    errors: Errors = "common"

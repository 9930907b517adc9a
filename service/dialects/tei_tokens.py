"""Text Embeddings Inference's `/tokenize`: texts in, tokens with their places out. The tokenizer itself is the caller's.

As in router/src/http/server.rs (tokenize) and core/src/tokenization.rs (into_tokens).
"""

from __future__ import annotations

import msgspec

from service.dialects.body import Body
from service.dialects.fields import flag, strings, wrong
from service.dialects.nouns import Call
from service.dialects.tei import EmptyList


class Token(msgspec.Struct):
    """One token: `text` is that part of the input, a special token's its name; `start` and `stop` are its bytes there in UTF-8, or None."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Tokenize(msgspec.Struct, frozen=True):
    """What is to be tokenized; the answer is a list of tokens per text."""

    inputs: list[str]
    add_special_tokens: bool


def decode(body: Body, call: Call) -> Tokenize:
    """Read a tokenize call; raises InvalidRequest, TooLarge."""
    inputs = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if inputs is not None and not isinstance(inputs, list):
        raise wrong("inputs", "a string or an array of strings", inputs)
    if inputs == []:
        raise EmptyList("`inputs` cannot be empty", "inputs")
    return Tokenize(strings(inputs, "inputs", call.max_documents), flag(body.add_special_tokens, "add_special_tokens", True))

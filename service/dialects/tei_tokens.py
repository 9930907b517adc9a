"""Text Embeddings Inference's `/tokenize`: texts in, tokens with their places out. The tokenizer itself is the caller's."""

from __future__ import annotations

import msgspec

from service.dialects.body import Body
from service.dialects.fields import flag, strings, wrong
from service.dialects.nouns import Call


class Token(msgspec.Struct):
    """One token; `start` and `stop` are its place in the text, None for a special token."""

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
    return Tokenize(strings(inputs, "inputs", call.max_documents), flag(body.add_special_tokens, "add_special_tokens", True))

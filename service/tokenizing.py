"""What `/tokenize` answers: a tokenizer's reading of texts, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from service.dialects import table
from service.dialects.body import parse
from service.dialects.nouns import Call
from service.dialects.tei_tokens import Token, decode
from service.models import Model


async def tokenize(body: bytes, call: Call, model: Model, threads: Executor) -> tuple[bytes, str]:
    """Return the encoded answer and its media type. Raises InvalidRequest or TooLarge."""
    asked = decode(parse(body, call.packed_in), call)
    found = await asyncio.get_running_loop().run_in_executor(threads, read_tokens, model, asked.inputs, asked.add_special_tokens)
    return table.dump(found, call.packed)


def read_tokens(model: Model, texts: list[str], specials: bool) -> list[list[Token]]:
    """Tokenize; special tokens go by their own names, and no text is taken for one. The others are what they are of their text."""
    vocabulary = model.encoder.vocabulary
    names = {number: content for content, number in vocabulary.reserved.items()}

    def read(text: str, found: Any) -> list[Token]:
        places = bytes_before(text)
        return [
            Token(number, names.get(number, piece), True, None, None)
            if special
            else Token(number, text[first:last], False, places[first], places[last])
            for number, piece, special, (first, last) in zip(found.ids, found.tokens, found.special_tokens_mask, found.offsets, strict=True)
        ]

    return [
        read(text, found) for text, found in zip(texts, vocabulary.tokenizer.encode_batch(texts, add_special_tokens=specials), strict=True)
    ]


def bytes_before(text: str) -> Sequence[int]:
    """Return how many bytes of UTF-8 stand before each character, and before the end."""
    if text.isascii():
        return range(len(text) + 1)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + sum((points >= least).astype(np.intp) for least in (0x80, 0x800, 0x10000))
    places: list[int] = np.concatenate(([0], np.cumsum(widths))).tolist()
    return places

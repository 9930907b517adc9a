"""What `/tokenize` answers: a tokenizer's reading of texts, in a thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

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
    """Tokenize; special tokens go by their own names, and no text is taken for one."""
    vocabulary = model.encoder.vocabulary
    names = {number: content for content, number in vocabulary.reserved.items()}
    return [
        [
            Token(number, names.get(number, piece), True, None, None) if special else Token(number, piece, False, *offsets)
            for number, piece, special, offsets in zip(found.ids, found.tokens, found.special_tokens_mask, found.offsets, strict=True)
        ]
        for found in vocabulary.tokenizer.encode_batch(texts, add_special_tokens=specials)
    ]

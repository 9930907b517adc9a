"""Long documents in overlapping windows: where the windows lie, and the best of each document once they are scored.

A document that fits is one window, the whole of it. A window's text is tokenized again on its own, so that it is exactly what a caller who
cut the document there would get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from batching.errors import InvalidRequest, TooLarge
from batching.families.encode import Encoded, Encoder
from batching.types import Float32s, Int32s
from service.schemas import RerankRequest, Window
from service.settings import PREFIX

OVERLAP_SHARE = 8
"""A window shares an eighth of its tokens with the one before it, unless the request says how many."""
MOST_SHARE = 2
"""It shares half of them at most, so that windows hold at most about twice the document: were they to go forward by one token, 60 KB of
text would fill the queue. SiliconFlow, whose clients send an overlap, takes at most 80 tokens."""

Span = tuple[int, int]
"""Of characters in a document, or of tokens."""


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of a request's documents, in document order; `owner` int [w]: whose, `cut` bool [n]: some of it is in no window."""

    encoded: Encoded
    owner: NDArray[np.intp]
    spans: list[Span]
    cut: NDArray[np.bool_]


def split(encoder: Encoder, request: RerankRequest, documents: Sequence[str], max_length: int, most: int) -> Windows:
    """Tokenize, windowing what does not fit.

    Raises InvalidRequest when the query leaves no room or the overlap too little of it, TooLarge for windows of more than `most` tokens.
    """

    def encode(texts: Sequence[str]) -> Encoded:
        return encoder.encode(request.query, texts, instruction=request.instruction, max_length=max_length, side=request.side)

    whole = encode(documents)
    spans = [[(0, len(document))] for document in documents]
    cut = np.zeros(len(documents), np.bool_)
    long = np.flatnonzero(whole.truncated).tolist()
    if long:
        room = max_length - int(encode([""]).sequences.lengths[-1])
        if room < 1:
            raise InvalidRequest(f"query: leaves no room for documents within max_length {max_length}", "query")
        _check_overlap(request, room, encoder.limited_by(max_length))
        # Where the query stands in a sequence that all share, windows do not repeat it.
        own, total = int(encode(["", ""]).sequences.lengths[-1]), 0
        tokens = encoder.vocabulary.tokenizer.encode_batch([documents[index] for index in long], add_special_tokens=False)
        for index, found in zip(long, tokens, strict=True):
            offsets = found.offsets[: request.max_tokens_per_doc]
            count = window_count(len(offsets), room, request.chunk_overlap)
            kept = min(count, request.max_chunks or count)
            total += kept * (own + min(len(offsets), room))
            if total > most:
                raise TooLarge(f"the request's windows take more tokens than the queue holds ({most:,}, {PREFIX}QUEUE_TOKENS)")
            if offsets:
                steps = islice(token_spans(len(offsets), room, request.chunk_overlap), kept)
                spans[index] = [(offsets[first][0], offsets[last - 1][1]) for first, last in steps]
            cut[index] = kept < count or len(offsets) < len(found.offsets)
    owner = np.repeat(np.arange(len(documents)), [len(found) for found in spans])
    texts = [documents[index][first:last] for index, found in enumerate(spans) for first, last in found]
    return Windows(encode(texts) if long else whole, owner, [span for found in spans for span in found], cut)


def token_spans(tokens: int, room: int, overlap: int | None) -> Iterator[Span]:
    """Give windows of at most `room` tokens that cover `tokens`, each sharing at least `overlap` with the one before."""
    step, first = _step(room, overlap), 0
    while first + room < tokens:
        yield first, first + room
        first += step
    yield max(0, min(first, tokens - room)), tokens


def window_count(tokens: int, room: int, overlap: int | None) -> int:
    """Return how many windows `token_spans` gives."""
    return 1 + max(0, -(-(tokens - room) // _step(room, overlap)))


def reckon(tokens: int, own: int, request: RerankRequest, max_length: int) -> int:
    """Return about what a document of about `tokens` takes in windows, each of which takes `own` besides; for what is not tokenized yet."""
    # A query that takes more than three quarters is refused.
    room = max(1, max_length - own, max_length // 4)
    tokens = min(tokens, request.max_tokens_per_doc or tokens)
    overlap = None if request.chunk_overlap is None else min(request.chunk_overlap, room // MOST_SHARE)
    count = window_count(tokens, room, overlap)
    return min(count, request.max_chunks or count) * min(max_length, own + min(tokens, room))


def _step(room: int, overlap: int | None) -> int:
    return max(1, room - (room // OVERLAP_SHARE if overlap is None else overlap))


def _check_overlap(request: RerankRequest, room: int, whose: str) -> None:
    overlap, most = request.chunk_overlap or 0, room // MOST_SHARE
    if overlap > most:
        field = request.sent_as("chunk_overlap")
        raise InvalidRequest(
            f"{field}: {overlap} is over the limit of {most} tokens, half of the {room} left for a window ({whose})",
            field,
        )


@dataclass(frozen=True, slots=True)
class Best:
    """What is left of the windows: one of each document. `raw` float32 [n], `pair_tokens` int32 [n] over all of a document's windows."""

    raw: Float32s
    pair_tokens: Int32s
    windows: list[Window | None]


def best(windows: Windows, raw: Float32s) -> Best:
    """Return the window with the best raw score per document, the first of equals; NaN only where all of a document's are."""
    count = len(windows.cut)
    sizes = np.bincount(windows.owner, minlength=count)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).astype(np.intp)
    chosen = [int(start) + _argmax(raw[start : start + size]) for start, size in zip(starts, sizes, strict=True)]
    found = [
        Window(start=windows.spans[place][0], end=windows.spans[place][1], index=place - int(start), count=int(size)) if size > 1 else None
        for place, start, size in zip(chosen, starts, sizes, strict=True)
    ]
    tokens = np.bincount(windows.owner, weights=windows.encoded.pair_tokens, minlength=count).astype(np.int32)
    return Best(raw[chosen], tokens, found)


def _argmax(raw: Float32s) -> int:
    return int(np.argmax(np.where(np.isfinite(raw), raw, -np.inf)))

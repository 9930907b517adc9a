"""One request's texts tokenized by several threads at once, while there is nothing else to do: the latency of a caller who is alone.

Under load every request has a thread of its own anyway, and cutting requests up would only cost.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

Ids = list[list[int]]
Tokenize = Callable[[list[str]], Ids]

PART_CHARS = 2500
"""A part of a batch that is worth a thread's attention: about 600 tokens, a millisecond."""


class Spread:
    """`width` threads in all, the caller's among them; used while `idle` says so."""

    def __init__(self, width: int, idle: Callable[[], bool]) -> None:
        self._width, self._idle = width, idle
        self._threads = ThreadPoolExecutor(max(1, width - 1), thread_name_prefix="tokenize-part")

    def map(self, tokenize: Tokenize, texts: list[str]) -> Ids:
        """Return `tokenize(texts)`; each part in a thread of its own if that pays. Raises what `tokenize` raises."""
        parts = cut(texts, self._width) if self._width > 1 and len(texts) > 1 and self._idle() else [texts]
        if len(parts) == 1:
            return tokenize(texts)
        futures = [self._threads.submit(tokenize, part) for part in parts[1:]]
        found = tokenize(parts[0])
        for future in futures:
            found += future.result()
        return found

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def cut(texts: list[str], most: int) -> list[list[str]]:
    """`texts`, in order, in at most `most` parts of about equal length, none much under PART_CHARS."""
    ends = list(accumulate(map(len, texts)))
    count = max(1, min(most, len(texts), ends[-1] // PART_CHARS if ends else 1))
    parts: list[list[str]] = [[] for _ in range(count)]
    for text, end in zip(texts, ends, strict=True):
        middle = end - len(text) / 2
        parts[min(count - 1, int(middle * count / max(1, ends[-1])))].append(text)
    return [part for part in parts if part]

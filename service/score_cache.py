"""Scores of pairs that were asked for before, in a bounded number of bytes; one cache per HTTP process, nothing on disk.

A score is found again only under everything that it depends on: model and revision, recipe, query, instruction, document, and how long
texts are cut; where so set, under the caller's key too, so that nobody can learn from an answer's speed what others asked. Listwise models
score a document among others, chunked documents have several scores, and images are long to hash: none of these is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from batching.types import Float32s, Int32s
from service.generations import Generations
from service.ranking import Plan

ENTRY_BYTES = 300
"""Of an entry: key, tuple, two numbers, and its place in the table."""

_Entry = tuple[float, bool, int]
"""Raw score, whether the document was cut, the pair's tokens."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a plan's documents are known to score. `missing` intp [m]: the places of those to be scored still; `keys` of all."""

    keys: list[bytes]
    missing: NDArray[np.intp]
    raw: Float32s
    truncated: NDArray[np.bool_]
    pair_tokens: Int32s

    def complete(self, raw: Float32s, truncated: NDArray[np.bool_], pair_tokens: Int32s) -> tuple[Float32s, NDArray[np.bool_], Int32s]:
        """Put what was scored now, [m] each, in its places; return all of it, [n] each."""
        self.raw[self.missing], self.truncated[self.missing], self.pair_tokens[self.missing] = raw, truncated, pair_tokens
        return self.raw, self.truncated, self.pair_tokens


class ScoreCache(Generations[_Entry]):
    """`per_key`: scores of one key's calls are not found by another's."""

    def __init__(self, most_bytes: int, *, per_key: bool) -> None:
        super().__init__(most_bytes, lambda entry: ENTRY_BYTES)
        self._per_key = per_key

    def recall(self, plan: Plan, owner: bytes) -> Recalled | None:
        """Look a plan's documents up; None for one whose scores are not kept. `owner` tells whose key was shown."""
        if plan.chunked or plan.request.images or plan.model.card.family.unit == "list":
            return None
        base = _base(plan, owner if self._per_key else b"")
        keys = [hashlib.blake2b(_utf8(document), digest_size=16, key=base).digest() for document in plan.documents]
        return _recalled(keys, [self.find(key) for key in keys])

    def remember(self, recalled: Recalled) -> None:
        """Keep what was missing and is now complete; a score that is no finite number may be another one next time."""
        for place in recalled.missing.tolist():
            raw = float(recalled.raw[place])
            if np.isfinite(raw):
                self.keep(recalled.keys[place], (raw, bool(recalled.truncated[place]), int(recalled.pair_tokens[place])))


def _recalled(keys: list[bytes], found: Sequence[_Entry | None]) -> Recalled:
    known = [(np.nan, False, 0) if entry is None else entry for entry in found]
    return Recalled(
        keys,
        np.array([place for place, entry in enumerate(found) if entry is None], np.intp),
        np.array([raw for raw, _, _ in known], np.float32),
        np.array([cut for _, cut, _ in known], np.bool_),
        np.array([tokens for _, _, tokens in known], np.int32),
    )


def _base(plan: Plan, owner: bytes) -> bytes:
    """Return a hash of everything that a score depends on besides the document."""
    request, card = plan.request, plan.model.card
    instruction = None if request.instruction is None else _utf8(request.instruction)
    parts = (
        card.name, card.revision, card.architecture, card.family.name, _utf8(request.query), instruction, plan.max_length,
        request.max_tokens_per_doc, request.truncate is False, request.side or card.side, owner,
    )  # fmt: skip
    return hashlib.blake2b(msgspec.msgpack.encode(parts), digest_size=32).digest()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

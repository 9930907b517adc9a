"""A served model without processes: a real encoder would need files, so this one counts words, and its queue scores at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from batching.board import BATCH_TOKENS_BOUNDS, FORWARD_SECONDS_BOUNDS
from batching.client import QueueView
from batching.errors import Expired, InvalidRequest
from batching.families.base import Family, Piece
from batching.families.card import ModelCard
from batching.families.encode import Encoded
from batching.owner import Stay
from batching.types import Float32s, Sequences
from batching.worker_view import WorkerView
from service.models import Served
from service.settings import Settings
from service.settings_load import load_settings

FAMILY = Family(name="fake", layout=(Piece(text="{query} {document}"),))


def card(name: str = "org/fake-model", **changes: object) -> ModelCard:
    """A card of nothing."""
    facts: dict[str, object] = {
        "path": "", "architecture": "Fake", "activation": "sigmoid", "max_length": 128, "default_max_length": 64, "vocab_size": 1000,
        "config": {}, "revision": "0", "weights_bytes": 0, "family": FAMILY,
    }  # fmt: skip
    return ModelCard(name=name, **(facts | changes))  # type: ignore[arg-type]


@dataclass
class FakeTokens:
    """One text, a token per word."""

    ids: list[int]
    tokens: list[str]
    special_tokens_mask: list[int]
    offsets: list[tuple[int, int]]


class FakeTokenizer:
    """A token per word, whose id is the word's length."""

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[FakeTokens]:
        return [self._one(text, add_special_tokens) for text in texts]

    def _one(self, text: str, specials: bool) -> FakeTokens:
        words, offsets, place = text.split(), [], 0
        for word in words:
            place = text.index(word, place)
            offsets.append((place, place + len(word)))
            place += len(word)
        found = FakeTokens([len(word) for word in words], words, [0] * len(words), offsets)
        return FakeTokens([1, *found.ids], ["<s>", *words], [1, *found.special_tokens_mask], [(0, 0), *offsets]) if specials else found


class FakeVocabulary:
    """A tokenizer and one special token."""

    def __init__(self) -> None:
        self.tokenizer = FakeTokenizer()
        self.reserved = {"<s>": 1}


class FakeEncoder:
    """A pair is its query's words, one separator and its document's words; each word's token is its length."""

    def __init__(self) -> None:
        self.vocabulary = FakeVocabulary()
        self.calls: list[dict[str, object]] = []
        self.error: Exception | None = None

    def limited_by(self, limit: int) -> str:
        return f"who set {limit}"

    def encode(self, query: str, documents: Sequence[str], *, instruction: str | None = None, max_length: int | None = None,
               truncate: bool = True, side: str = "right", document_tokens: int | None = None) -> Encoded:  # fmt: skip
        self.calls.append(
            {"query": query, "documents": list(documents), "instruction": instruction, "max_length": max_length, "side": side}
        )
        if self.error:
            raise self.error
        limit, asked = max_length or 64, query.split()
        room = min(limit - len(asked) - 1, document_tokens or limit)
        bodies = [document.split() for document in documents]
        truncated = np.array([len(body) > room for body in bodies], np.bool_)
        if truncated.any() and not truncate:
            name = f"documents[{int(np.argmax(truncated))}]"
            raise InvalidRequest(f"{name} is too long for max_length {limit}", name)
        rows = [[len(word) for word in asked] + [0] + [len(word) for word in body[: max(room, 0)]] for body in bodies]
        lengths = np.array([len(row) for row in rows], np.int32)
        ids = np.array([token for row in rows for token in row], np.int32)
        return Encoded(Sequences(ids, lengths, np.zeros_like(lengths), False, len(rows)), truncated, lengths, len(asked))


@dataclass
class FakeScored:
    """What a queue gives back."""

    raw: Float32s
    queue_s: float = 0.002
    forward_s: float = 0.003
    stays: list[Stay] = field(default_factory=list)


@dataclass
class FakeReservation:
    """Remembers what was reserved."""

    tokens: int

    def adjust(self, tokens: int) -> None:
        self.tokens = tokens


def worker(**changes: object) -> WorkerView:
    """A worker that is up."""
    numbers = {name: 0 for name, kind in WorkerView.__annotations__.items() if kind == "int"}
    facts: dict[str, object] = {
        **numbers, "slot": 0, "state": "ready", "device": "cpu", "dtype": "float32", "backend": "fake", "reason": "", "heartbeat_age_s": 0.01,
        "forward_age_s": 1.0, "forward_running_s": 0.0, "idle": True, "busy_s": 0.0, "forward_seconds_sum": 0.0,
        "batch_tokens_buckets": [0] * (len(BATCH_TOKENS_BOUNDS) + 1), "forward_seconds_buckets": [0] * (len(FORWARD_SECONDS_BOUNDS) + 1),
    }  # fmt: skip
    return WorkerView(**(facts | changes))  # type: ignore[arg-type]


@dataclass
class FakeClient:
    """A queue that scores a pair by its mean token, or as told."""

    error: Exception | None = None
    """Raised by `reserve`."""
    score_error: Exception | None = None
    takes_s: float = 0.0
    nan_at: tuple[int, ...] = ()
    workers: list[WorkerView] = field(default_factory=lambda: [worker()])
    reserved: int = 0
    scored: list[Sequences] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False
    opened_at: float = 0.0

    @contextlib.contextmanager
    def reserve(self, tokens: int, deadline: float | None = None) -> Iterator[FakeReservation]:
        if self.error:
            raise self.error
        reservation = FakeReservation(tokens)
        self.reserved += 1
        try:
            yield reservation
        finally:
            self.reserved -= 1

    async def score(self, sequences: Sequences, *, deadline: float, priority: int = 0, request_id: bytes = b"") -> FakeScored:
        if self.score_error:
            raise self.score_error
        self.scored.append(sequences)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await asyncio.sleep(self.takes_s)
        except TimeoutError:
            raise Expired("the deadline passed before the scores were there") from None
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        ends = np.cumsum(sequences.lengths)
        sums = np.add.reduceat(sequences.ids, ends - sequences.lengths) if len(ends) else np.zeros(0)
        raw = (sums / np.maximum(sequences.lengths, 1)).astype(np.float32)
        raw = raw[1:] if sequences.shared else raw
        raw[list(self.nan_at)] = np.nan
        now = time.monotonic()
        return FakeScored(raw, stays=[Stay(now - 0.005, now - 0.004, now, 0.003, len(sequences.ids), 0)])

    def view(self) -> QueueView:
        return QueueView(limit_tokens=1000, reserved_tokens=0, waiting_tokens=0, waiting_entries=0, leased_entries=0, oldest_wait_s=0.0,
                         drain_tokens_per_s=0.0, workers=self.workers)  # fmt: skip

    async def close(self) -> None:
        self.closed = True


class FakeModel:
    """One served model and a hand on its parts."""

    def __init__(self, name: str = "org/fake-model", **changes: object) -> None:
        self.card, self.encoder, self.client = card(name, **changes), FakeEncoder(), FakeClient()

    @property
    def served(self) -> Served:
        async def open_client() -> FakeClient:
            self.client.opened_at = time.monotonic()
            return self.client

        return Served(self.card, self.encoder, open_client)


def settings(**values: str) -> Settings:
    """Settings from texts by field name."""
    return load_settings({f"RERANKER_{name.upper()}": text for name, text in values.items()})

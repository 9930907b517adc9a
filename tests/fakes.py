"""Small scorers with known answers, for tests and benchmarks that are not about a model. Loaded in workers by name, as real ones are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batching.types import Collect, Float32s, OutOfMemory, Pack, Sequences

POISON = 666
"""A token that makes the scorer misbehave as its `mode` says."""


def known_scores(pack: Pack) -> NDArray[np.float32]:
    """The score of a sequence is a number made of its own tokens alone, so that any mix-up shows."""
    ends = np.cumsum(pack.lengths)
    sums = np.add.reduceat(pack.ids.astype(np.int64), ends - pack.lengths)
    values = ((sums * 31 + pack.lengths) % 10007).astype(np.float32)
    firsts = np.cumsum(pack.entry_sequences) - pack.entry_sequences
    keep = np.ones(len(values), bool)
    keep[firsts[pack.entry_shared]] = False
    return values[keep]


def sequences(texts: Sequence[Sequence[int]], *, shared: bool = False) -> Sequences:
    """A request out of each sequence's tokens."""
    lengths = np.array([len(text) for text in texts], np.int32)
    ids = np.array([token for text in texts for token in text], np.int32)
    return Sequences(ids, lengths, np.zeros_like(lengths), shared, len(texts) - shared)


def expected(request: Sequences) -> Float32s:
    """What a FakeScorer answers to a request, however it is cut and batched."""
    one = np.array([len(request.lengths)], np.int32)
    return known_scores(Pack(request.ids, request.lengths, request.splits, one, one - request.shared, np.array([request.shared])))


class FakeScorer:
    """Scores by `known_scores` after `seconds_per_token`; a POISON token triggers `mode`."""

    device, dtype, backend, depth = "cpu", "float32", "fake", 1

    def __init__(self, options: dict[str, object]) -> None:
        self.mode = str(options.get("mode", ""))
        self.seconds_per_token = float(options.get("seconds_per_token", 0.0))  # type: ignore[arg-type]
        self.budget_tokens = int(options.get("budget_tokens", 4096))  # type: ignore[call-overload]
        self.memory_tokens = int(options.get("memory_tokens", 0))  # type: ignore[call-overload]
        time.sleep(float(options.get("load_s", 0.0)))  # type: ignore[arg-type]

    def memory_bytes(self) -> int:
        return 0

    def launch(self, pack: Pack) -> Collect:
        if self.seconds_per_token:
            time.sleep(self.seconds_per_token * pack.tokens)
        if self.memory_tokens and pack.tokens > self.memory_tokens:
            raise OutOfMemory
        if self.mode and (pack.ids == POISON).any():
            misbehave(self.mode)
        scores = known_scores(pack)
        if self.mode == "nan":
            scores[scores == scores.max()] = np.nan
        return lambda: scores


def misbehave(mode: str) -> None:
    """Do what the mode says."""
    if mode == "exit":
        os._exit(3)
    if mode == "segfault":
        os.kill(os.getpid(), 11)
    if mode == "raise":
        raise RuntimeError("poison")
    if mode == "hang":
        time.sleep(3600)


def make(options: dict[str, object]) -> FakeScorer:
    """The factory that a worker is told to call."""
    return FakeScorer(options)


def refuse(options: dict[str, object]) -> FakeScorer:
    """A model that can't be loaded."""
    raise RuntimeError("no such model")

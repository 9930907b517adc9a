"""Small scorers with known answers, for tests and benchmarks that are not about a model. Loaded in workers by name, as real ones are."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batching.errors import SettingError, StartError
from batching.queue import Queue
from batching.types import Collect, Float32s, OutOfMemory, Pack, Sequences
from batching.worker import Worker, WorkerConfig

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
    """Scores by `known_scores` after `seconds_per_token` (and `seconds_per_batch`); a POISON token (or `poison`) triggers `mode`.

    With `once`, the path of a file, only the first poison of all workers that share it misbehaves. Where `broken`, another, is there,
    exercises do.
    """

    dtype, backend, padded = "float32", "fake", False

    def __init__(self, options: dict[str, object]) -> None:
        def number(name: str, usual: float) -> float:
            return float(str(options.get(name, usual)))

        self.mode, self.once = str(options.get("mode", "")), str(options.get("once", ""))
        self.broken = str(options.get("broken", ""))
        self.poison = int(number("poison", POISON))
        self.device, self.depth = str(options.get("device", "cpu")), int(number("depth", 1))
        self.seconds_per_token, self.seconds_per_batch = number("seconds_per_token", 0.0), number("seconds_per_batch", 0.0)
        self.budget_tokens, self.memory_tokens = int(number("budget_tokens", 4096)), int(number("memory_tokens", 0))
        time.sleep(number("load_s", 0.0))

    def memory_bytes(self) -> int:
        return 0

    def exercise(self) -> None:
        """Works, until the file `broken` is there."""
        if self.broken and Path(self.broken).exists():
            misbehave(self.mode)

    def launch(self, pack: Pack) -> Collect:
        if pause := self.seconds_per_token * pack.tokens + self.seconds_per_batch:
            time.sleep(pause)
        if self.memory_tokens and pack.tokens > self.memory_tokens:
            raise OutOfMemory
        poisoned = bool(self.mode) and bool((pack.ids == self.poison).any()) and self.may_misbehave()
        if poisoned:
            misbehave(self.mode)
        scores = known_scores(pack)
        if poisoned and self.mode == "nan":
            scores[has(pack, self.poison)] = np.nan
        return lambda: scores[:-1] if poisoned and self.mode == "short" else scores

    def may_misbehave(self) -> bool:
        """Whether nobody was first."""
        if not self.once:
            return True
        try:
            Path(self.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def has(pack: Pack, token: int) -> NDArray[np.bool_]:
    """Which sequences hold `token`, one value per score."""
    ends = np.cumsum(pack.lengths)
    found: NDArray[np.bool_] = np.add.reduceat(pack.ids == token, ends - pack.lengths) > 0
    firsts = np.cumsum(pack.entry_sequences) - pack.entry_sequences
    keep = np.ones(len(found), bool)
    keep[firsts[pack.entry_shared]] = False
    return found[keep]


def misbehave(mode: str) -> None:
    """Do what the mode says."""
    if mode == "exit":
        os._exit(3)
    if mode == "killed":
        signal.raise_signal(signal.SIGKILL)
    if mode == "segfault":
        signal.raise_signal(signal.SIGSEGV)
    if mode == "raise":
        raise RuntimeError("poison")
    if mode == "hang":
        time.sleep(3600)


def make(options: dict[str, object]) -> FakeScorer:
    """The factory that a worker is told to call."""
    return FakeScorer(options)


def refuse(options: dict[str, object]) -> FakeScorer:
    """A model that can't be loaded, and says so."""
    raise StartError("the weights are gone")


def misset(options: dict[str, object]) -> FakeScorer:
    """A model that can't be loaded with its settings, and says so."""
    raise SettingError("that number format is not for this processor")


def moody(options: dict[str, object]) -> FakeScorer:
    """A model that can't be loaded while the file `gone` is there."""
    if Path(str(options["gone"])).exists():
        raise StartError("the weights are gone")
    return FakeScorer(options)


def burst(options: dict[str, object]) -> FakeScorer:
    """A model whose loading fails as nobody foresaw."""
    raise RuntimeError("no such luck")


def die(options: dict[str, object]) -> FakeScorer:
    """A model that kills its process while it loads."""
    os._exit(9)


@contextlib.contextmanager
def inline_worker(
    directory: Path, slot: int = 0, *, max_pairs: int | None = None, exercise_s: float = 10.0, **options: object
) -> Iterator[Worker]:
    """A worker in a thread of this process, stopped at the end; what its loop raises is raised."""
    config = WorkerConfig(directory=str(directory), slot=slot, factory="", max_pairs=max_pairs, exercise_s=exercise_s)
    worker = Worker(config, Queue(directory), FakeScorer(options))
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(worker.run)
        try:
            yield worker
        finally:
            worker.stopping = True
            try:
                running.result(30)
            finally:
                worker.close()

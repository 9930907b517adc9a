"""One model in process: parity of every variant against float32, tokens a second by batch size, one request's latency, where time goes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from batching.errors import RerankdError
from batching.families.card import ModelCard
from batching.families.detect import detect
from batching.scoring.factory import depth_on
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from batching.types import Float32s, OutOfMemory
from ops.bench.gpu import timing, work
from ops.bench.gpu.variants import Variant

Row = dict[str, Any]
PARITY_TOKENS = 16384
REQUEST_DOCUMENTS = 20
PACKS, MANY_TOKENS = 8, 16384
SAME = frozenset({"dtype", "attention", "forward"})
"""Choices that make no difference where number type and kernel come out the same."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is measured: batch sizes in tokens, seconds of each point, requests one at a time."""

    sizes: tuple[int, ...]
    seconds: float
    requests: int


class Model:
    """A checkpoint on a device, and what its float32 scores are."""

    def __init__(self, path: Path, device: str, lengths: work.Lengths, matrix_rate: float, bounds: Bounds) -> None:
        self.card: ModelCard = detect(path, path.name)
        self.lengths = work.Lengths(lengths.name, lengths.median, lengths.sigma, lengths.low, min(lengths.high, self.card.max_length))
        self._device, self._matrix_rate, self._bounds = device, matrix_rate, bounds
        self._reference: Float32s | None = None
        self._seen: set[tuple[str, str]] = set()

    def loaded(self, changes: dict[str, Any]) -> PackedScorer:
        """Load the checkpoint with the default options but for `changes`. Raises RerankdError for what this machine lacks."""
        return load_scorer(self.card, ScoringOptions(**{"device": self._device, **changes}))

    def reference(self) -> Float32s:
        """Scores in float32 by the plainest way there is."""
        if self._reference is None:
            torch.set_float32_matmul_precision("highest")
            self._reference = self._scores(self.loaded({"dtype": "float32", "attention": "runs", "forward": "transformers"}))
        return self._reference

    def _scores(self, scorer: PackedScorer) -> Float32s:
        rng = np.random.default_rng(3)
        return scorer.launch(work.pack(self.lengths.draw(min(PARITY_TOKENS, max(self._bounds.sizes)), rng), rng))()

    def parity(self, scorer: PackedScorer) -> Row:
        """How far raw scores are from float32's, absolute and of their spread, and whether their order is the same (Kendall's tau)."""
        want, got = self.reference(), self._scores(scorer)
        far = float(np.abs(got - want).max())
        return {"max diff": far, "of spread": far / max(float(np.ptp(want)), 1e-9), "tau": work.kendall(got, want)}

    def throughput(self, scorer: PackedScorer, tokens: int) -> Row:
        """Tokens a second of batches of about so many tokens, as a worker runs them, and the part of the matrix rate that is."""
        rng = np.random.default_rng(5)
        packs = [work.pack(self.lengths.draw(tokens, rng), rng) for _ in range(PACKS if tokens <= MANY_TOKENS else PACKS // 2)]
        depth = max(1, depth_on(scorer.device))
        timing.batches(scorer, packs, depth)
        count = max(2, round(self._bounds.seconds * 2 / max(timing.batches(scorer, packs[:2], depth), 1e-6)))
        took = timing.batches(scorer, (packs[number % len(packs)] for number in range(count)), depth)
        whole = [packs[number % len(packs)] for number in range(count)]
        flops = sum(work.flops(self.card.config, pack.lengths) for pack in whole)
        return {"batch": tokens, "tokens/s": sum(pack.tokens for pack in whole) / took, "ms": took / count * 1e3,
                "TFLOP/s": flops / took / 1e12, "of matrix rate": flops / took / self._matrix_rate}  # fmt: skip

    def latency(self, scorer: PackedScorer) -> Row:
        """One request of 20 documents of 128 tokens at a time."""
        rng = np.random.default_rng(7)
        length = min(int(work.REQUEST.median), self.card.max_length)
        packs = [work.pack(np.full(REQUEST_DOCUMENTS, length, np.int32), rng) for _ in range(8)]
        timing.latencies(scorer, packs)
        return timing.latencies(scorer, [packs[number % len(packs)] for number in range(self._bounds.requests)])

    def rows(self, variant: Variant, sizes: tuple[int, ...]) -> Iterator[Row]:
        """Measure one variant: a row with parity and latency, then one per batch size; a row with the reason where it can't be."""
        head = {"model": self.card.name, "variant": variant.name}
        scorer: PackedScorer | None = None
        try:
            began = time.perf_counter()
            scorer = self.loaded(variant.changes)
            kind = (scorer.dtype, scorer.backend)
            if kind in self._seen and variant.changes and variant.changes.keys() <= SAME:
                yield {**head, "note": f"no other than one above: {scorer.dtype}, {scorer.backend}"}
                return
            self._seen.add(kind)
            scorer.warm_up(256)
            ready = {"dtype": scorer.dtype, "kernel": scorer.backend, "ready s": time.perf_counter() - began}
            yield {**head, **ready, **self.parity(scorer), **self.latency(scorer), "MiB": scorer.memory_bytes() / 2**20}
            for tokens in sizes:
                yield {**head, **self.throughput(scorer, tokens)}
        except (RerankdError, OutOfMemory, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            yield {**head, "note": (f"{type(error).__name__}: {error}".splitlines() or [""])[0][:160]}
        finally:
            del scorer
            gc.collect()
            if self._device.startswith("cuda"):
                torch.cuda.empty_cache()  # the service that is measured next shares the card

    def profile(self, tokens: int) -> list[Row]:
        """Where the device's time goes at this batch size, by kernel, and how much of the wall time it was busy. CUDA only."""
        scorer = self.loaded({})
        rng = np.random.default_rng(9)
        packs = [work.pack(self.lengths.draw(tokens, rng), rng) for _ in range(6)]
        timing.batches(scorer, packs, 2)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            took = timing.batches(scorer, packs, 2)
        kernels = sorted(profiler.key_averages(), key=lambda one: -one.self_device_time_total)
        total = sum(one.self_device_time_total for one in kernels) or 1.0
        rows = [{"kernel": one.key[:90], "calls": one.count, "share": one.self_device_time_total / total} for one in kernels[:12]]
        return [{"kernel": "all: device time over wall time, the profiler's own cost included", "share": total / 1e6 / took}, *rows]

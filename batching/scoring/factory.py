"""What a worker process calls to get its scorer: card and options in, a loaded, warmed-up and calibrated scorer out."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import torch
import transformers

from batching import calibrate
from batching.families.card import ModelCard
from batching.memory import Memory, host
from batching.scoring.lanes import memory_errors
from batching.scoring.load import load_scorer
from batching.scoring.onednn import share
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from batching.types import Collect, Pack

CPU_TARGET_S, GPU_TARGET_S = 0.3, 0.05
"""How long a batch may take: what a newcomer waits for at the most before its turn to be planned."""
CALIBRATE_S = 4.0
MEASURED_ON = "mixed lengths"
"""Part of what a remembered curve goes by: one that was measured on something else is no guide."""
WARM_UP_TOKENS, EXERCISE_TOKENS = 256, 8
MIN_BATCHES = 2
"""A budget holds at least this many of the longest sequences, so that one does not run alone."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The `options` of a worker's configuration."""

    card: ModelCard
    device: str
    dtype: str = "auto"
    threads: int | None = None
    compiled: str = "auto"
    graphs: str = "auto"
    max_length: int = 512
    budget_tokens: int = 0
    """0: measure."""


class ReadyScorer:
    """A `batching.worker.LoadedScorer`: a PackedScorer, its token budget and the curve behind it."""

    def __init__(self, scorer: PackedScorer, budget_tokens: int, curve: list[calibrate.Point]) -> None:
        self._scorer, self.budget_tokens, self.curve = scorer, budget_tokens, curve
        self.device, self.dtype, self.backend = scorer.device, scorer.dtype, scorer.backend
        self.padded = scorer.padded
        self.depth = depth_on(scorer.device)

    def launch(self, pack: Pack) -> Collect:
        """See `batching.types.Scorer`."""
        return self._scorer.launch(pack)

    def memory_bytes(self) -> int:
        """Memory the model takes on its device."""
        return self._scorer.memory_bytes()

    def exercise(self) -> None:
        """See `LoadedScorer.exercise`."""
        self._scorer.warm_up(EXERCISE_TOKENS)

    def device_memory(self) -> Memory:
        """Memory of the device, whoever holds it; looked at every few seconds, and unknown where CUDA has failed."""
        if not self.device.startswith("cuda"):
            return host()
        try:
            return Memory(*torch.cuda.mem_get_info(self.device))
        except RuntimeError:  # the device thread meets the same error, and ends the worker for it
            return Memory(0, 0)


def depth_on(device: str) -> int:
    """Batches that may be on `device` at once; see `LoadedScorer.depth`."""
    return {"cuda": 2, "cpu": 0}.get(device.partition(":")[0], 1)


def make(options: dict[str, Any]) -> ReadyScorer:
    """Load, warm up, and find the token budget. Raises StartError when the checkpoint or the device will not do, OutOfMemory."""
    asked = msgspec.convert(options, Options)
    chosen = {name: getattr(asked, name) for name in ("device", "dtype", "threads", "compiled", "graphs")}
    with memory_errors():
        scorer = load_scorer(asked.card, msgspec.convert(chosen, ScoringOptions))
        scorer.warm_up(WARM_UP_TOKENS)
        scorer.prepare()
    share.settle()
    if asked.budget_tokens:
        return ReadyScorer(scorer, asked.budget_tokens, [])
    curve = _curve(scorer, asked)
    target_s = GPU_TARGET_S if scorer.device.startswith("cuda") else CPU_TARGET_S
    return ReadyScorer(scorer, max(calibrate.choose(curve, target_s), MIN_BATCHES * asked.max_length), curve)


def _curve(scorer: PackedScorer, asked: Options) -> list[calibrate.Point]:
    key = "|".join((asked.card.name, asked.card.revision, _device_name(scorer.device), scorer.dtype, scorer.backend, str(asked.threads),
                    torch.__version__, transformers.__version__, MEASURED_ON))  # fmt: skip
    known = calibrate.recall(key)
    if known:
        return known
    target_s = GPU_TARGET_S if scorer.device.startswith("cuda") else CPU_TARGET_S
    used, began = time.process_time(), time.perf_counter()
    curve = calibrate.measure(scorer.warm_up, target_s=target_s, limit_s=CALIBRATE_S, largest=calibrate.SIZES[-1])
    if scorer.device != "cpu" or calibrate.undisturbed(time.process_time() - used, time.perf_counter() - began):
        calibrate.remember(key, curve)
    return curve


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device

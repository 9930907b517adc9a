"""The packed way that CUDA takes, on the CPU: a scorer whose kernel is a dense stand-in for a varlen call."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

from batching.scoring.kernels import VarlenKernel, torch_varlen
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from tests.models import dense
from tests.models.cases import encoder_of


def varlen_kernel(*dtypes: torch.dtype) -> VarlenKernel:
    """The stand-in, for float32 unless told otherwise."""
    return VarlenKernel("stand-in", torch_varlen(dense.varlen_attn, SimpleNamespace(lse=True)), dtypes=dtypes or (torch.float32,))


def varlen_scorer(name: str) -> PackedScorer:
    """A scorer of its own for the case, on the stand-in."""
    scorer = load_scorer(encoder_of(name).card, ScoringOptions(forward="transformers"))
    scorer._kernel = varlen_kernel()
    scorer._forward._rounds = False
    return scorer


class FakeGraph:
    """Does its work anew at every replay, on the very tensors that it was captured with. Like a real one, captures without doing it."""

    def __init__(self, made: list[FakeGraph] | None = None) -> None:
        self.replays = 0
        self._run: Callable[[], None] | None = None
        if made is not None:
            made.append(self)

    def capture(self, run: Callable[[], None]) -> None:
        self._run = run

    def replay(self) -> None:
        assert self._run is not None
        self.replays += 1
        self._run()

"""How far every family's raw scores are from its independent reference, by number type, as a markdown table.

    python -m ops.bench.parity [--device cpu|cuda:0] [--dtypes float32,bfloat16,float8,int8] [--forward transformers|onednn|fused]

The checkpoints are the tests' tiny random ones, so the figures are those of the arithmetic, not of trained weights. Needs the `test` extra.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from batching.scoring.float8 import emulated, to_float8
from batching.scoring.load import load_scorer
from batching.scoring.onednn.weights import BODIES
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from batching.types import Sequences
from tests.checkpoints import QUERY
from tests.models.cases import CASES, FULL, PAIRS, case_of, encoded, encoder_of, reference_of, scorer_of
from tests.models.packs import chosen, scores

FAR = 0.05
"""Two documents are well separated when their reference scores differ by this part of the scores' spread."""


@dataclass(frozen=True)
class Row:
    """One family in one number type. Differences are absolute; `spread` is the reference scores' range, for scale."""

    family: str
    dtype: str
    backend: str
    spread: float
    difference: float
    drift: float
    agree: int
    separated: int

    def markdown(self) -> str:
        """The row as a table line."""
        share = "all" if self.agree == self.separated else f"{self.agree}"
        return (
            f"| {self.family} | {self.dtype} | {self.backend} | {self.spread:.2f} | {self.difference:.1e} | "
            f"{self.difference / self.spread:.1e} | {self.drift:.1e} | {share} of {self.separated} |"
        )


HEADER = (
    "| family | dtype | kernel | spread of raw scores | max abs diff to reference | same, of spread | drift with company | "
    "well-separated pairs in order |\n|---|---|---|---|---|---|---|---|"
)


def order_agreement(got: NDArray[np.float32], want: NDArray[np.float32], far: float) -> tuple[int, int]:
    """Of all pairs of documents whose reference scores are at least `far` apart: those in the same order, and how many there are."""
    apart = [(a, b) for a, b in itertools.combinations(range(len(want)), 2) if abs(float(want[a] - want[b])) >= far]
    return sum((got[a] > got[b]) == (want[a] > want[b]) for a, b in apart), len(apart)


def measure(name: str, device: str, dtype: str, forward: str) -> Row:
    """One family in one number type on one device."""
    want = reference_of(name, QUERY, PAIRS)
    emulate = device == "cpu" and dtype == "float8"
    scorer = emulated_float8(name) if emulate else scorer_of(name, device=device, dtype=dtype, forward=forward)
    request = encoded(name, QUERY, PAIRS)
    got = scores(scorer, request)
    drift = max(float(np.abs(alone - got).max()) for alone in alternatives(name, scorer, request, got))
    spread = float(np.ptp(want))
    agree, separated = order_agreement(got, want, FAR * spread)
    return Row(name, scorer.dtype, scorer.backend, spread, float(np.abs(got - want).max()), drift, agree, separated)


def emulated_float8(name: str) -> PackedScorer:
    """DTYPE=float8 on the CPU: the same arithmetic on dequantised numbers."""
    scorer = load_scorer(encoder_of(name).card, ScoringOptions(dtype="bfloat16", forward="transformers"))
    to_float8(scorer._forward._base, emulated)
    scorer.dtype = "float8, emulated"
    return scorer


def alternatives(name: str, scorer: PackedScorer, request: Sequences, got: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The same scores from other batches: every pair alone, and all of them in another order; a listwise family has only its own list."""
    if case_of(name).listwise:
        return [scores(scorer, request, request)[: len(got)]]
    alone = np.concatenate([scores(scorer, chosen(request, [document])) for document in range(len(got))])
    order = np.random.default_rng(1).permutation(len(got))
    shuffled = np.empty_like(got)
    shuffled[order] = scores(scorer, chosen(request, order.tolist()))
    return [alone, shuffled]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument(
        "--families", default=",".join(CASES), help=f"names of the tests' cases; those of full registers: {', '.join(FULL)}"
    )
    parser.add_argument("--forward", default="transformers", help="the model's own modules, or the packed forward of this name")
    asked = parser.parse_args(arguments)
    transformers.utils.logging.disable_progress_bar()
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}, device {asked.device}\n"
    )
    print(HEADER)
    for name, dtype in itertools.product(asked.families.split(","), asked.dtypes.split(",")):
        if dtype == "int8" and encoder_of(name).card.config.get("model_type") not in BODIES:
            continue
        print(measure(name, asked.device, dtype, asked.forward).markdown(), flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())

"""Published scores of published checkpoints, to be held against real weights, which are not in this repository.

Put model directories under one folder, each called as on the hub without its owner (`bge-reranker-v2-m3`), and name that folder in
RERANKD_GOLDEN_DIR. Sources: the model cards and the libraries' documentation, as noted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from batching.families.activate import activate
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests.models.packs import scores

FOLDER = os.environ.get("RERANKD_GOLDEN_DIR")
PANDA = "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear species endemic to China."


@dataclass(frozen=True)
class Golden:
    """`expected` are raw scores, or with `activated` what callers see; `tolerance` as published, or that of the last digit given."""

    model: str
    query: str
    documents: tuple[str, ...]
    expected: tuple[float, ...]
    tolerance: float
    activated: bool = False


GOLDEN = (
    # BAAI's README
    Golden("bge-reranker-v2-m3", "what is panda?", ("hi", PANDA), (-8.1838, 5.2650), 2e-3),
    # sentence-transformers' documentation of CrossEncoder
    Golden(
        "ms-marco-MiniLM-L6-v2",
        "How many people live in Berlin?",
        ("Berlin had a population of 3,520,031 in 2019.", "Berlin is well known for its museums."),
        (8.40307, -4.3200774),
        2e-3,
    ),
    # transformers' figure in text-embeddings-inference, pull request 835
    Golden(
        "Qwen3-Reranker-0.6B", "What is the capital of China?", ("The capital of Korea is Seoul.",), (0.001029968,), 2e-4, activated=True
    ),
    # the model card
    Golden("zerank-2", "What is 2+2?", ("4", "The answer is definitely 1 million"), (0.7531883, 0.28894895), 2e-2, activated=True),
)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.model)
def test_published_scores(golden: Golden) -> None:
    """Real weights give the scores that were published for them, in float32 on the CPU."""
    if FOLDER is None:
        pytest.skip("RERANKD_GOLDEN_DIR names no folder of models")
    directory = Path(FOLDER) / golden.model
    if not directory.is_dir():
        pytest.skip(f"{directory} is not there")
    card = detect(directory, golden.model)
    raw = scores(load_scorer(card, ScoringOptions()), Encoder(card).encode(golden.query, golden.documents).sequences)
    found = activate(raw, card) if golden.activated else raw
    np.testing.assert_allclose(found, golden.expected, atol=golden.tolerance, rtol=0)

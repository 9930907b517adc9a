"""How number types rank real text with the starter model's real weights, as a markdown table: `python -m ops.bench.real_text`.

Questions with random paragraphs of the Python reference; every number type against the model's own modules in float32. Kendall's tau counts
pairs of documents in the same order less those in another. Needs the `test` extra.
"""

from __future__ import annotations

import argparse
import itertools
import sys

import numpy as np
import torch
from numpy.typing import NDArray

from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from ops.bench import options
from service import model_files
from tests.models.onednn.text import requests
from tests.models.packs import scores

Scores = list[NDArray[np.float32]]
FAR = 0.05
"""Two documents are well separated when their float32 scores differ by this part of all scores' spread."""
HEADER = (
    "| dtype | kernel | tau, all pairs | tau within a request, mean (least) | largest difference | mean difference, of the deviation | "
    "well-separated pairs in order |\n|---|---|---|---|---|---|---|"
)


def tau(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Kendall's."""
    left, right = np.triu_indices(len(one), 1)
    return float((np.sign(one[left] - one[right]) * np.sign(other[left] - other[right])).mean())


def row(dtype: str, backend: str, want: Scores, got: Scores) -> str:
    """One number type as a table line."""
    exact, rounded = np.concatenate(want), np.concatenate(got)
    within = [tau(*both) for both in zip(want, got, strict=True)]
    far = FAR * float(np.ptp(exact))
    apart = [
        (b[i] > b[j]) == (a[i] > a[j])
        for a, b in zip(want, got, strict=True)
        for i, j in itertools.combinations(range(len(a)), 2)
        if abs(float(a[i] - a[j])) >= far
    ]
    difference = np.abs(exact - rounded)
    return (
        f"| {dtype} | {backend} | {tau(exact, rounded):.4f} | {np.mean(within):.4f} ({min(within):.4f}) | {difference.max():.1e} | "
        f"{difference.mean() / exact.std():.1e} | {sum(apart)} of {len(apart)} |"
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("real_text", __doc__)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "int8"])
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--documents", type=int, default=24)
    return parser.parse_args()


def main() -> int:
    """Print the table."""
    args = parse()
    card = model_files.card(model_files.starter(), "starter", None)
    encoder = Encoder(card)
    asked = [encoder.encode(query, documents).sequences for query, documents in requests(args.requests, args.documents, args.seed)]
    plain = load_scorer(card, ScoringOptions(forward="transformers", threads=1))
    want = [scores(plain, one) for one in asked]
    print(f"torch {torch.__version__}, {args.requests} requests of {args.documents} documents, seed {args.seed}\n\n{HEADER}")
    for dtype in args.dtypes:
        scorer = load_scorer(card, ScoringOptions(dtype=dtype, threads=1))
        print(row(dtype, scorer.backend, want, [scores(scorer, one) for one in asked]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

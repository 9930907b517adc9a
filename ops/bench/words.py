"""What looking words up costs beside tokenizing them, and how many of a text's words were met before: `python -m ops.bench.words`.

Texts: the load's (a few thousand different words), paragraphs of the Python reference in any order, the same with accents, and numbers in
hexadecimal, none of which comes twice. In one process, one thread, no cache of documents.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batching.families.vocabulary import Vocabulary
from ops.bench import options, report
from ops.bench.models import cache_directory, model_path
from service.load.workload import MIXED, make_requests
from tests.models.onednn.text import paragraphs

ROUNDS = 3
ACCENTS = str.maketrans("eouc", "éöüç")


def texts(seed: int) -> dict[str, list[str]]:
    """Every kind by name."""
    rng = random.Random(seed)
    reference = rng.sample(found := paragraphs(), len(found))
    return {
        "the load's": [document for request in make_requests(200, MIXED, seed) for document in request.documents],
        "Python reference": reference,
        "the same, accented": [text.translate(ACCENTS) for text in reference],
        "hexadecimal": [" ".join(f"{rng.getrandbits(32):08x}" for _ in range(60)) for _ in range(500)],
    }


def ns_a_token(read: Callable[[list[str]], object], all_: list[str], tokens: int) -> float:
    """What reading them one by one takes."""
    began = time.perf_counter()
    for text in all_:
        read([text])
    return (time.perf_counter() - began) / tokens * 1e9


def measure(directory: Path, name: str, all_: list[str]) -> dict[str, Any]:
    """The last quarter of some texts, with a tokenizer that has read the three before; the least of a few rounds."""
    rows = [_measure(Vocabulary(directory), name, all_[: len(all_) * 3 // 4], all_[len(all_) * 3 // 4 :]) for _ in range(ROUNDS)]
    return {key: min(row[key] for row in rows) if key.endswith("a token") else value for key, value in rows[0].items()}


def _measure(vocabulary: Vocabulary, name: str, before: list[str], last: list[str]) -> dict[str, Any]:
    words = vocabulary._words
    if words is None:
        raise SystemExit(f"{vocabulary.path} is of a kind that is not read by words")
    tokens = sum(map(len, vocabulary._library(last)))
    library = ns_a_token(vocabulary._library, last, tokens)
    unmet = ns_a_token(vocabulary.arrays, before[: len(last)], sum(map(len, vocabulary._library(before[: len(last)]))))
    vocabulary.arrays(before)
    read = [word for text in last for word in words._split(text)]
    return {
        "text": name,
        "tokens": tokens,
        "library, ns a token": library,
        "words, first quarter, ns a token": unmet,
        "words met before": sum(word in words._young or word in words._old for word in read) / len(read),
        "words, last quarter, ns a token": ns_a_token(vocabulary.arrays, last, tokens),
        "the same again, ns a token": ns_a_token(vocabulary.arrays, last, tokens),
    }


def main() -> int:
    """Print a table for every tokenizer."""
    parser = options.parser("words", __doc__)
    parser.add_argument("--models", nargs="+", default=["minilm-l6", "bge-reranker-base"], help="of ops.bench.models, or directories")
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for model in args.models:
        directory = Path(model) if Path(model).is_dir() else model_path(model, cache_directory() / "models")
        rows = [measure(directory, name, all_) for name, all_ in texts(args.seed).items()]
        report.show(f"words, {model}", rows, report.context(("rerankd", "tokenizers")), as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

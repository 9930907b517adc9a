"""The families under test: how to make a tiny checkpoint of each, and what to hold its scores against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from batching.types import Sequences
from tests import checkpoints
from tests.models import references


@dataclass(frozen=True)
class Case:
    """One family: `make(directory)` writes its checkpoint, `reference(directory, query, documents)` scores without the program."""

    name: str
    make: Callable[[Path], Path]
    reference: Callable[..., references.Raw]
    bfloat16: float
    """Bound on |bfloat16 - float32| of raw scores, in units of the float32 scores' spread (max - min)."""
    recipe: str | None = None
    listwise: bool = False
    """Scores depend on the other documents by design, so company matters."""


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("xlm-roberta", checkpoints.xlm_roberta, references.classifier, 0.08),
        Case("bert", checkpoints.bert, references.classifier, 0.08),
        Case("electra", checkpoints.electra, references.classifier, 0.12),
        Case("bi-encoder mean", checkpoints.bi_encoder, references.sentence_encoder, 0.08),
        Case("bi-encoder cls", partial(checkpoints.bi_encoder, pooling="cls"), references.sentence_encoder, 0.08),
        Case("bi-encoder last", partial(checkpoints.bi_encoder, pooling="lasttoken"), references.sentence_encoder, 0.08),
        Case(
            "bi-encoder prompts",
            partial(checkpoints.bi_encoder, prompts={"query": "query: ", "document": "passage: "}),
            references.sentence_encoder,
            0.08,
        ),
    )
}


@cache
def directory_of(name: str) -> Path:
    """The case's checkpoint, made once per process."""
    return CASES[name].make(Path(mkdtemp(prefix="checkpoint-")) / "model")


@cache
def encoder_of(name: str) -> Encoder:
    """The program's tokenizing for the case's checkpoint."""
    return Encoder(detect(directory_of(name), name, CASES[name].recipe))


@cache
def scorer_of(name: str, **options: Any) -> PackedScorer:
    """The program's scorer for the case's checkpoint on the CPU."""
    return load_scorer(encoder_of(name).card, ScoringOptions(**options))


@cache
def reference_of(name: str, query: str, documents: tuple[str, ...]) -> references.Raw:
    """The reference's raw scores, float32."""
    return CASES[name].reference(directory_of(name), query, documents)


def encoded(name: str, query: str, documents: Sequence[str], **options: Any) -> Sequences:
    """One request in tokens."""
    return encoder_of(name).encode(query, documents, **options).sequences

"""`rerankd check`'s verdict on every family's known pair: a flipped head is a wrong order, a lost template or head a wrong scale."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from batching.families.base import Family
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.families.known import KNOWN, Verdict, judge, known_of
from batching.families.rules import FAMILIES
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests.models.cases import CASES, directory_of
from tests.models.packs import scores

HEADS = {
    "xlm-roberta": "classifier.out_proj", "bert": "classifier", "electra": "classifier.out_proj", "modernbert mean": "classifier",
    "ettin": "4_Dense/linear", "gte": "classifier", "gte remote": "classifier", "jina-v2": "classifier.out_proj",
    "deberta-v2": "classifier", "albert": "classifier", "distilbert": "classifier", "qwen3 classifier": "score", "nemotron": "score",
    "nemotron vl text": "score", "mxbai labels": "score", "layerwise": "lm_head.1.linear_head",
}  # fmt: skip
"""Each case's last linear, behind the folder that holds it."""


def flipped(source: Path, target: Path, head: str) -> Path:
    """A copy of the checkpoint whose last linear gives the opposite."""
    shutil.copytree(source, target)
    folder, _, name = head.rpartition("/")
    path = target / folder / "model.safetensors"
    tensors = load_file(path)
    touched = [key for key in tensors if key in (f"{name}.weight", f"{name}.bias")]
    assert touched, "the head is there"
    save_file(tensors | {key: -tensors[key] for key in touched}, path, metadata={"format": "pt"})
    return target


def verdict_on(directory: Path, recipe: str | None) -> Verdict:
    """What `rerankd check` would say of the checkpoint."""
    card = detect(directory, "m", recipe)
    query, good, bad = known_of(card.family).texts
    request = Encoder(card).encode(query, [bad, good])
    worse, better = scores(load_scorer(card, ScoringOptions(forward="transformers")), request.sequences).tolist()
    return judge(card.family, (card.name,), better, worse)


@pytest.mark.parametrize("name", HEADS)
def test_a_flipped_head_is_a_wrong_order(tmp_path: Path, name: str) -> None:
    """Of a checkpoint and the same with its head turned round, exactly one has the known pair in the right order."""
    plain = verdict_on(directory_of(name), CASES[name].recipe)
    turned = verdict_on(flipped(directory_of(name), tmp_path / "m", HEADS[name]), CASES[name].recipe)
    assert plain.ordered != turned.ordered


def test_every_family_has_its_pair() -> None:
    """No family is left to a pair or a range that was not chosen for it."""
    assert set(KNOWN) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_order_and_scale(family: Family) -> None:
    """The better document first and far enough is right; behind, level, out of range or not a number is told."""
    known = known_of(family)
    middle = (known.highest + known.lowest) / 2
    good, bad = middle + known.gap, middle - known.gap
    assert judge(family, ("m",), good, bad) == Verdict(ordered=True, doubts=())
    assert not judge(family, ("m",), bad, good).ordered
    assert judge(family, ("m",), middle + 1e-6, middle).doubts
    assert "range" in judge(family, ("m",), known.highest * 2 + 1, bad).doubts[0]
    assert judge(family, ("m",), float("nan"), bad).doubts
    assert not judge(family, ("m",), float("nan"), bad).ordered


def test_published_scores_are_held_against() -> None:
    """A model of a known name whose scores are not the published ones is told so; bfloat16's error is not."""
    family = FAMILIES["xlm-roberta"]
    for name in ("BAAI/bge-reranker-v2-m3", "/models/bge-reranker-v2-m3"):
        assert not judge(family, (name,), 5.2617, -8.1875).doubts
        assert "published" in judge(family, (name,), 2.1, -8.18).doubts[0]
    assert not judge(family, ("other",), 2.1, -8.18).doubts

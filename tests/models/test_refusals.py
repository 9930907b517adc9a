"""A checkpoint that does not fill its class exactly is refused with the keys, and never gets a random head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import QUERY, SENTENCES
from tests.models.cases import encoded, encoder_of, scorer_of
from tests.models.packs import scores

PLAIN = ScoringOptions(forward="transformers")
Tensors = dict[str, torch.Tensor]


def edited(name: str, directory: Path, edit: Callable[[Tensors], None], **config: object) -> ModelCard:
    """A copy of the case's checkpoint with other tensors or other config.json keys, and the unedited card pointed at it."""
    getattr(checkpoints, name)(directory)
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | config), "utf-8")
    return msgspec.structs.replace(encoder_of(name.replace("_", "-")).card, name="edited", path=str(directory))


def remove(*keys: str) -> Callable[[Tensors], None]:
    def edit(tensors: Tensors) -> None:
        for key in keys:
            del tensors[key]

    return edit


def nothing(_: Tensors) -> None:
    pass


@pytest.mark.parametrize("key", ["classifier.out_proj.weight", "roberta.encoder.layer.1.output.dense.bias"])
def test_missing_weights_are_named(tmp_path: Path, key: str) -> None:
    """Head or body: what would be random is refused by name."""
    card = edited("xlm_roberta", tmp_path / "m", remove(key))
    with pytest.raises(UnsupportedModel, match=key.replace(".", r"\.")):
        load_scorer(card, PLAIN)


def test_a_missing_pooler_is_a_missing_head(tmp_path: Path) -> None:
    """BERT's pooler is part of its head."""
    card = edited("bert", tmp_path / "m", remove("bert.pooler.dense.weight"))
    with pytest.raises(UnsupportedModel, match="pooler"):
        load_scorer(card, PLAIN)


def test_unexpected_weights_are_named(tmp_path: Path) -> None:
    """Weights that the class has no place for mean that the checkpoint computes something else."""
    card = edited("bert", tmp_path / "m", lambda tensors: tensors.update({"bert.encoder.layer.0.gate.weight": torch.ones(3)}))
    with pytest.raises(UnsupportedModel, match=r"bert\.encoder\.layer\.0\.gate\.weight"):
        load_scorer(card, PLAIN)


def test_left_over_buffers_and_pretraining_heads_are_harmless(tmp_path: Path) -> None:
    """Old position buffers and a forgotten masked-language head change nothing."""
    left_over = {"bert.embeddings.position_ids": torch.arange(512)[None], "cls.predictions.bias": torch.ones(3)}
    card = edited("bert", tmp_path / "m", lambda tensors: tensors.update(left_over))
    request = encoded("bert", QUERY, SENTENCES[:3])
    assert scores(load_scorer(card, PLAIN), request).tolist() == scores(scorer_of("bert"), request).tolist()


def test_another_shape_is_refused(tmp_path: Path) -> None:
    """A tensor of another shape than config.json says is refused."""
    card = edited("bert", tmp_path / "m", lambda tensors: tensors.update({"classifier.weight": torch.ones(1, 8)}))
    with pytest.raises(UnsupportedModel, match=r"edited: .*"):
        load_scorer(card, PLAIN)


def test_two_labels_are_refused(tmp_path: Path) -> None:
    """A classifier of several classes has no one score."""
    card = edited("bert", tmp_path / "m", nothing, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(UnsupportedModel, match="num_labels"):
        load_scorer(card, PLAIN)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    """Only safetensors are read: a pickle could run code."""
    card = edited("bert", tmp_path / "m", nothing)
    torch.save(load_file(tmp_path / "m" / "model.safetensors"), tmp_path / "m" / "pytorch_model.bin")
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match="safetensors"):
        load_scorer(card, PLAIN)


def test_code_of_the_checkpoint_is_never_run(tmp_path: Path) -> None:
    """A model type that only its own code knows is refused, and that code is not imported."""
    card = edited("bert", tmp_path / "m", nothing, model_type="homemade", auto_map={"AutoConfig": "configuration_homemade.Config"})
    (tmp_path / "m" / "configuration_homemade.py").write_text("raise SystemExit('run')", "utf-8")
    with pytest.raises(UnsupportedModel, match=r"config\.json"):
        load_scorer(card, PLAIN)


def test_a_sentence_encoder_may_lack_the_pooler_it_does_not_read(tmp_path: Path) -> None:
    """Mean pooling never looks at BERT's pooler."""
    checkpoints.bi_encoder(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    save_file({key: value for key, value in load_file(path).items() if not key.startswith("pooler.")}, path, metadata={"format": "pt"})
    card = msgspec.structs.replace(encoder_of("bi-encoder mean").card, path=str(tmp_path / "m"))
    request = encoded("bi-encoder mean", QUERY, SENTENCES[:3])
    assert scores(load_scorer(card, PLAIN), request).tolist() == scores(scorer_of("bi-encoder mean"), request).tolist()

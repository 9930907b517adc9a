"""A checkpoint that does not fill its class exactly is refused with the keys, and never gets a random head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.sentence_transformer.modules import Normalize

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import QUERY, SENTENCES
from tests.checkpoints.weights import edit_json, randomise
from tests.models import layerwise, references
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
    with pytest.raises(UnsupportedModel, match=r"edited: .*config\.json: classifier\.weight \[1, 8\] where it is \[1, 32\]$"):
        load_scorer(card, PLAIN)


@pytest.mark.parametrize("changes", [{"hidden_size": "abc"}, {"num_attention_heads": 0}, {"hidden_act": "none"}, {"layer_norm_eps": []}])
def test_a_config_of_the_wrong_kind_is_one_line(tmp_path: Path, changes: dict[str, object]) -> None:
    """Whatever transformers raises at it."""
    card = edited("bert", tmp_path / "m", nothing, **changes)
    with pytest.raises(UnsupportedModel, match=r"^edited: [^\n]*$"):
        load_scorer(card, PLAIN)


def test_two_labels_are_refused(tmp_path: Path) -> None:
    """A classifier of several classes has no one score."""
    card = edited("bert", tmp_path / "m", nothing, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(UnsupportedModel, match="num_labels"):
        load_scorer(card, PLAIN)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("nemotron", {"pooling": "cls"}, "pooling is 'cls'.*'avg'"),
        ("nemotron", {"sliding_window": 512}, "sliding_window is 512"),
        ("nemotron", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
        ("jina_v2", {"position_embedding_type": "rotary"}, "position_embedding_type is 'rotary'"),
        ("gte_remote", {"logn_attention_scale": True}, "logn_attention_scale is True"),
        ("gte_remote", {"position_embedding_type": "absolute"}, "position_embedding_type is 'absolute'"),
        ("gte_remote", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling is .*ntk"),
        ("qwen3_classifier", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
    ],
)
def test_what_a_family_can_t_honour_is_named(tmp_path: Path, name: str, changes: dict[str, object], reason: str) -> None:
    """Pooling, window, rope and positions that the served class does not compute are refused with the key and what was expected."""
    directory = getattr(checkpoints, name)(tmp_path / "m")
    edit_json(directory / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match=reason):
        load_scorer(detect(directory, "m"), PLAIN)


def test_a_cut_off_without_a_head_is_refused(tmp_path: Path) -> None:
    """Layers below start_layer have no head to read."""
    directory = layerwise.make(tmp_path / "m", cutoff=1)
    with pytest.raises(UnsupportedModel, match=r"cutoff_layers is .*2 to 4"):
        load_scorer(detect(directory, "m"), PLAIN)


def test_a_window_that_is_narrower_than_a_filled_query_is_refused(tmp_path: Path) -> None:
    """A token that fills a ColBERT's query up must see the query."""
    directory = checkpoints.modern_colbert(tmp_path / "m", window=32)
    with pytest.raises(UnsupportedModel, match=r"local_attention is 32 .*32 tokens"):
        load_scorer(detect(directory, "m"), PLAIN)
    directory = checkpoints.modern_colbert(tmp_path / "n", window=32, do_query_expansion=False)
    load_scorer(detect(directory, "m"), PLAIN)


def test_a_position_table_shorter_than_promised_is_refused(tmp_path: Path) -> None:
    """The longest sequence that is let in fits the table."""
    card = edited("bert", tmp_path / "m", nothing)
    with pytest.raises(UnsupportedModel, match=r"holds 512 tokens where .* 600"):
        load_scorer(msgspec.structs.replace(card, max_length=600), PLAIN)


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


@pytest.mark.parametrize("name", ["bi_encoder", "ettin"])
@pytest.mark.parametrize("kind", ["Dense", "Normalize"])
def test_a_module_before_the_pooling_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    """sentence-transformers runs it on every token, and its scores show that."""
    directory = getattr(checkpoints, name)(tmp_path / "m")
    reference = references.sentence_encoder if name == "bi_encoder" else references.cross_encoder
    bare = reference(directory, QUERY, SENTENCES[:3])
    tokens = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    module = Dense(32, 32, **tokens) if kind == "Dense" else Normalize(**tokens)
    randomise(module, 3)
    (directory / "9_Early").mkdir()
    module.save(str(directory / "9_Early"))
    path = directory / "modules.json"
    entries = json.loads(path.read_text("utf-8"))
    early = {"idx": 9, "name": "9", "path": "9_Early", "type": f"{type(module).__module__}.{kind}"}
    path.write_text(json.dumps([entries[0], early, *entries[1:]]), "utf-8")
    assert np.abs(reference(directory, QUERY, SENTENCES[:3]) - bare).max() > 1e-4
    with pytest.raises(UnsupportedModel, match=rf"modules\.json has {kind} before its Pooling"):
        detect(directory, "m")


def test_a_body_of_its_own_code_that_may_see_both_sides(tmp_path: Path) -> None:
    """A sentence encoder over a decoder is refused where only its code knows what it sees, and follows is_causal where config.json says it."""
    directory = checkpoints.decoder_bi_encoder(tmp_path / "m")
    edit_json(directory / "config.json", auto_map={"AutoModel": "modeling_qwen.Qwen2Model", "AutoConfig": "modeling_qwen.Config"})
    with pytest.raises(UnsupportedModel, match=r"modeling_qwen\.Qwen2Model .*is_causal.*qwen2"):
        detect(directory, "m")
    found = []
    for causal in (True, False):
        edit_json(directory / "config.json", auto_map=..., is_causal=causal)
        want = references.sentence_encoder(directory, QUERY, SENTENCES[:3])
        edit_json(directory / "config.json", auto_map={"AutoModel": "modeling_qwen.Qwen2Model"})
        card = detect(directory, "m")
        got = scores(load_scorer(card, PLAIN), Encoder(card).encode(QUERY, SENTENCES[:3]).sequences)
        np.testing.assert_allclose(got, want, atol=1e-5)
        found.append(want)
    assert np.abs(found[0] - found[1]).max() > 1e-3

"""Detection from files: each family is found, and what can't be served is refused with a reason and a remedy in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

from batching.errors import SettingError, UnsupportedModel
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests import checkpoints
from tests.checkpoints.vocab import bert_tokenizer
from tests.checkpoints.weights import edit_json, save
from tests.unit.families.conftest import Shelf

IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


def small_bert(directory: Path, kind: type, **changes: object) -> Path:
    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **changes
    )
    return save(directory, kind(config), tokenizer, 0)


@pytest.mark.parametrize(
    ("name", "family", "activation", "max_length"),
    [
        ("xlm_roberta", "xlm-roberta", "sigmoid", 512),
        ("bert", "bert", "identity", 512),
        ("electra", "electra", "identity", 512),
        ("bi_encoder", "bi-encoder", "cosine", 128),
    ],
)
def test_families(shelf: Shelf, name: str, family: str, activation: str, max_length: int) -> None:
    """Each checkpoint is recognised, with the activation that its files or its family name and the length it can take."""
    card = shelf.card(name)
    assert (card.family.name, card.activation, card.max_length) == (family, activation, max_length)
    assert card.name == name
    assert card.weights_bytes > 10_000
    assert card.vocab_size == card.config["vocab_size"]


def test_positions_of_roberta_tables(tmp_path: Path) -> None:
    """A table of 66 positions with pad_token_id 1 holds 64 tokens, whatever the tokenizer says."""
    directory = checkpoints.xlm_roberta(tmp_path, max_length=64)
    edit_json(directory / "tokenizer_config.json", model_max_length=10**30)
    assert detect(directory, "m").max_length == 64


@pytest.mark.parametrize("model_type", ["xlm-roberta", "roberta", "mpnet"])
def test_positions_of_bi_encoders_over_roberta(tmp_path: Path, model_type: str) -> None:
    """A bi-encoder's table of 514 positions holds 512 tokens too, where nothing else bounds them."""
    directory = checkpoints.bi_encoder(tmp_path)
    edit_json(directory / "tokenizer_config.json", model_max_length=10**30)
    edit_json(directory / "sentence_bert_config.json", max_seq_length=...)
    assert detect(directory, "m").max_length == 512
    edit_json(directory / "config.json", model_type=model_type, max_position_embeddings=514, pad_token_id=1)
    assert detect(directory, "m").max_length == 512


@pytest.mark.parametrize(
    ("sentence", "nested", "old", "expected"),
    [
        (SIGMOID, IDENTITY, IDENTITY, "sigmoid"),
        (None, SIGMOID, IDENTITY, "sigmoid"),
        (None, None, IDENTITY, "identity"),
        (None, None, None, "sigmoid"),
        (IDENTITY, SIGMOID, None, "identity"),
    ],
)
def test_activation_precedence(tmp_path: Path, sentence: str | None, nested: str | None, old: str | None, expected: str) -> None:
    """config_sentence_transformers.json, then config.json's new key, then its old key, then the family."""
    directory = small_bert(tmp_path, BertForSequenceClassification, num_labels=1)
    if sentence:
        edit_json(directory / "config_sentence_transformers.json", activation_fn=sentence)
    if nested:
        edit_json(directory / "config.json", sentence_transformers={"activation_fn": nested})
    if old:
        edit_json(directory / "config.json", sbert_ce_default_activation_function=old)
    assert detect(directory, "m").activation == expected


def test_foreign_activation_is_not_run(tmp_path: Path) -> None:
    """A class outside torch's known three is refused by its name."""
    directory = small_bert(tmp_path, BertForSequenceClassification, num_labels=1)
    edit_json(directory / "config_sentence_transformers.json", activation_fn="os.system")
    with pytest.raises(UnsupportedModel, match=r"os\.system"):
        detect(directory, "m")


def adapt(directory: Path, *without: str) -> None:
    for name in without:
        (directory / name).unlink()
    edit_json(directory / "adapter_config.json", peft_type="LORA")


def break_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def rename_weights(directory: Path, name: str) -> None:
    (directory / "model.safetensors").rename(directory / name)


def point_weights(directory: Path) -> None:
    (directory / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def shard_weights(directory: Path) -> None:
    rename_weights(directory, "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "config.json").unlink(), "no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "not valid JSON"),
        (lambda path: (path / "config.json").write_text("[]"), "JSON object"),
        (lambda path: (path / "model.safetensors").unlink(), "no weights"),
        (lambda path: rename_weights(path, "pytorch_model.bin"), "pickled weights"),
        (lambda path: rename_weights(path, "model.gguf"), "GGUF"),
        (adapt, "holds an adapter"),
        (lambda path: adapt(path, "config.json", "model.safetensors"), "holds an adapter"),
        (lambda path: rename_weights(path, "model.onnx"), "ONNX"),
        (break_weights, "download it again"),
        (point_weights, "LFS"),
        (shard_weights, "model-00002-of-00002"),
        (lambda path: edit_json(path / "config.json", position_embedding_type="alibi"), "jina-reranker-v2"),
        (lambda path: edit_json(path / "config.json", architectures=["BertForMaskedLM"]), "language model"),
        (lambda path: edit_json(path / "config.json", architectures=["BertModel"]), "bare encoder"),
        (lambda path: edit_json(path / "config.json", architectures=["WhisperForAudio"]), "no family"),
        (lambda path: edit_json(path / "config.json", architectures=...), "model of type bert"),
        (lambda path: edit_json(path / "config.json", id2label={"0": "a", "1": "b"}), "2 labels"),
        (lambda path: edit_json(path / "config.json", vocab_size=...), "vocab_size"),
    ],
)
def test_refusals(shelf: Shelf, tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    """Every kind of checkpoint that can't be served is refused with one line that says why."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    damage(directory)
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        detect(directory, "m")
    assert "\n" not in str(caught.value)


def test_num_labels_wins_over_names(shelf: Shelf, tmp_path: Path) -> None:
    """As in transformers, where config.json holds both and they differ."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    edit_json(directory / "config.json", num_labels=1, id2label={"0": "a", "1": "b"})
    assert detect(directory, "m").family.name == "bert"
    edit_json(directory / "config.json", num_labels=3, id2label={"0": "a"})
    with pytest.raises(UnsupportedModel, match="3 labels"):
        detect(directory, "m")


def test_headless_classes(tmp_path: Path) -> None:
    """Real saved models without a ranking head are refused, also when config.json lies about their class."""
    for number, kind in enumerate((BertModel, BertForMaskedLM)):
        directory = small_bert(tmp_path / str(number), kind)
        with pytest.raises(UnsupportedModel, match="without a ranking head"):
            detect(directory, "m")
        edit_json(directory / "config.json", architectures=["BertForSequenceClassification"], id2label={"0": "a"})
        with pytest.raises(UnsupportedModel, match=r"classifier\.weight"):
            detect(directory, "m")


def test_no_directory(tmp_path: Path) -> None:
    """A path that is not there is said to be none."""
    with pytest.raises(UnsupportedModel, match="not a directory"):
        detect(tmp_path / "nothing", "m")


def test_recipe(shelf: Shelf, tmp_path: Path) -> None:
    """A recipe overrides name, template and refusals; an unknown one is refused with those that are known."""
    assert detect(shelf.path("qwen3"), "Qwen/Qwen3-Reranker-0.6B", recipe="zerank").family.name == "zerank"
    assert detect(shelf.path("qwen3_logit_score"), "m", recipe="zerank").family.name == "zerank"
    foreign = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), foreign)
    edit_json(foreign / "config.json", architectures=["MyBertForRanking"])
    with pytest.raises(UnsupportedModel, match="no family"):
        detect(foreign, "m")
    assert detect(foreign, "m", recipe="bert").family.name == "bert"
    assert detect(shelf.path("bert"), "m", recipe="bert").family.name == "bert"
    with pytest.raises(SettingError, match=r"^RERANKER_RECIPE=nonsense .*xlm-roberta"):
        detect(shelf.path("bert"), "m", recipe="nonsense")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode": ["cls", "mean"]}, "cls, mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
    ],
)
def test_poolings_that_are_not_served(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    """A pooling that is not served is refused by its name."""
    directory = checkpoints.bi_encoder(tmp_path)
    edit_json(directory / "1_Pooling" / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match=reason):
        detect(directory, "m")


@pytest.mark.parametrize("make", [checkpoints.decoder_bi_encoder, checkpoints.modern_colbert, checkpoints.ettin])
def test_text_through_a_chat_template(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """An embedding model that was saved to read messages is refused by the key that says so."""
    directory = make(tmp_path)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    edit_json(directory / "sentence_bert_config.json", modality_config={"text": text, "message": text})
    with pytest.raises(UnsupportedModel, match="message in modality_config"):
        detect(directory, "m")


MASK = "1_MultiVectorMask"


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("modules.json", ["HierarchicalTokenPooling", "Normalize"], "holds HierarchicalTokenPooling"),
        ("modules.json", [], "no Normalize"),
        ("config_sentence_transformers.json", {"similarity_fn_name": "meanmaxsim"}, "similarity_fn_name is meanmaxsim"),
        (f"{MASK}/config.json", {"skiplist_tasks": ["query", "document"]}, "skiplist_tasks"),
        (f"{MASK}/config.json", {"keep_only_token_ids": [7]}, "keep_only_token_ids"),
    ],
)
def test_late_interaction_that_is_not_served(tmp_path: Path, file: str, changes: Any, reason: str) -> None:
    """What else sentence-transformers' own files may ask for is refused by its name; without it they are served."""
    directory = checkpoints.modern_colbert(tmp_path, model_type="MultiVectorEncoder")
    modules = json.loads((directory / "modules.json").read_text())

    def write(*kinds: str) -> None:
        more = [{"type": f"sentence_transformers.{kind}", "path": MASK if kind == "MultiVectorMask" else ""} for kind in kinds]
        (directory / "modules.json").write_text(json.dumps(modules + more))

    edit_json(directory / MASK / "config.json", skiplist_words=[], skiplist_tasks=["document"])
    write("MultiVectorMask", "Normalize")
    assert detect(directory, "m").family.name == "colbert"
    if file == "modules.json":
        write(*changes)
    else:
        edit_json(directory / file, **changes)
    with pytest.raises(UnsupportedModel, match=reason):
        detect(directory, "m")


def test_old_layout_with_a_folder_for_the_transformer(tmp_path: Path) -> None:
    """modules.json may put the base model into a folder of its own."""
    directory = checkpoints.bi_encoder(tmp_path)
    inner = directory / "0_Transformer"
    inner.mkdir()
    for path in directory.glob("*"):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(inner / path.name)
    modules = json.loads((directory / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (directory / "modules.json").write_text(json.dumps(modules))
    card = detect(directory, "m")
    assert card.transformer == "0_Transformer"
    assert Encoder(card).encode("a", ["b"]).sequences.shared


def test_revision(shelf: Shelf, tmp_path: Path) -> None:
    """The revision is the same for the same files, and another for another configuration or other tensors."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    first = detect(directory, "m").revision
    assert detect(directory, "other name").revision == first
    edit_json(directory / "config.json", layer_norm_eps=0.5)
    assert detect(directory, "m").revision != first


def test_tokenizer_of_another_model(shelf: Shelf, tmp_path: Path) -> None:
    """A tokenizer with more ids than the model has rows, or with another pair template, is refused."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shelf.path("xlm_roberta") / name, directory / name)
    edit_json(directory / "config.json", vocab_size=10_000)
    with pytest.raises(UnsupportedModel, match="builds pairs as"):
        Encoder(detect(directory, "m"))
    edit_json(directory / "config.json", vocab_size=50)
    with pytest.raises(UnsupportedModel, match="has 50 embeddings"):
        Encoder(detect(directory, "m"))


def test_vocab_txt_alone(shelf: Shelf, tmp_path: Path) -> None:
    """An old BERT with vocab.txt and no tokenizer.json gives the ids of the same model with tokenizer.json."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    vocab = json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
    (directory / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)) + "\n", "utf-8")
    (directory / "tokenizer.json").unlink()
    texts = [*checkpoints.DOCUMENTS, "[SEP] [CLS]"]
    ours = Encoder(detect(directory, "m")).encode(checkpoints.QUERY, texts)
    assert ours.sequences.ids.tolist() == shelf.encoder("bert").encode(checkpoints.QUERY, texts).sequences.ids.tolist()


@pytest.mark.parametrize("name", ["bert", "xlm_roberta"])
def test_special_tokens_that_no_file_names(shelf: Shelf, tmp_path: Path, name: str) -> None:
    """Without tokenizer_config.json they are those of transformers' classes, which the tokenizer's own pair template confirms."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path(name), directory)
    (directory / "tokenizer_config.json").unlink()
    ours = Encoder(detect(directory, "m")).encode(checkpoints.QUERY, checkpoints.DOCUMENTS)
    want = shelf.encoder(name).encode(checkpoints.QUERY, checkpoints.DOCUMENTS)
    assert ours.sequences.ids.tolist() == want.sequences.ids.tolist()
    assert ours.sequences.splits.tolist() == want.sequences.splits.tolist()


def test_no_tokenizer(shelf: Shelf, tmp_path: Path) -> None:
    """A checkpoint without tokenizer.json is refused when its tokenizer is opened."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("bert"), directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json"):
        Encoder(detect(directory, "m"))

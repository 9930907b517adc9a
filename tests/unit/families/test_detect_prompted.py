"""Detection of the families that config.json does not tell apart, of module chains, and of the ones that are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from batching.errors import UnsupportedModel
from batching.families import nemotron
from batching.families.activate import activate
from batching.families.base import Piece
from batching.families.detect import detect
from batching.families.encode import Encoder
from tests.checkpoints import DOCUMENTS, QUERY, RECIPES
from tests.checkpoints.weights import edit_json
from tests.unit.families import recipes
from tests.unit.families.conftest import Shelf
from tests.unit.families.test_pair_ids import rows


@pytest.mark.parametrize(
    ("name", "family", "read", "head"),
    [
        ("modernbert", "modernbert", "mean", "model"),
        ("ettin", "module-chain", "first", "modules"),
        ("gte", "gte", "first", "model"),
        ("gte_remote", "gte", "first", "model"),
        ("jina_v2", "jina-v2", "first", "model"),
        ("deberta", "deberta-v2", "first", "model"),
        ("albert", "albert", "first", "model"),
        ("distilbert", "distilbert", "first", "model"),
        ("qwen3_classifier", "qwen3-reranker-classifier", "last", "model"),
        ("qwen3_logit_score", "qwen3-reranker", "last", "vocabulary"),
        ("nemotron", "nemotron-rerank", "mean", "model"),
        ("nemotron_vl", "nemotron-rerank", "mean", "model"),
        ("jina_v3", "jina-reranker-v3", "markers", "projector"),
        ("colbert", "colbert", "tokens", "maxsim"),
    ],
)
def test_families(shelf: Shelf, name: str, family: str, read: str, head: str) -> None:
    """Without a recipe each of these is recognised by its files, and its tokenizer opens."""
    card = detect(shelf.path(name), "m")
    assert (card.family.name, card.family.read, card.family.head) == (family, read, head)
    assert Encoder(card).encode(QUERY, DOCUMENTS).sequences.scores == len(DOCUMENTS)


@pytest.mark.parametrize("name", RECIPES)
def test_ambiguous_checkpoints_ask_for_a_recipe(shelf: Shelf, tmp_path: Path, name: str) -> None:
    """A language model that says nothing of its prompt is refused with the recipes, and served with one."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path(name), directory)
    with pytest.raises(UnsupportedModel, match="RERANKER_RECIPE") as caught:
        detect(directory, "m")
    assert RECIPES[name] in str(caught.value)
    assert detect(directory, "m", recipe=RECIPES[name]).family.name == RECIPES[name]


@pytest.mark.parametrize(
    ("asked", "name", "family"),
    [
        ("Qwen/Qwen3-Reranker-0.6B", "qwen3", "qwen3-reranker"),
        ("zeroentropy/zerank-2", "qwen3", "zerank"),
        ("ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b", "qwen3", "ctxl-rerank-v2"),
        ("mixedbread-ai/mxbai-rerank-large-v2", "mxbai_v2", "mxbai-rerank-v2"),
        ("BAAI/bge-reranker-v2-gemma", "bge_gemma", "bge-reranker-v2-gemma"),
        ("tomaarsen/Qwen3-Reranker-0.6B-seq-cls", "qwen3_classifier", "qwen3-reranker-classifier"),
    ],
)
def test_names(shelf: Shelf, tmp_path: Path, asked: str, name: str, family: str) -> None:
    """The hub's name, or a directory called like it, tells the prompt."""
    assert detect(shelf.path(name), asked).family.name == family
    directory = tmp_path / asked.rsplit("/", 1)[-1]
    shutil.copytree(shelf.path(name), directory)
    assert detect(directory, str(directory)).family.name == family


def test_a_name_does_not_override_the_model_type(shelf: Shelf) -> None:
    """A name that belongs to another kind of model is no evidence."""
    with pytest.raises(UnsupportedModel, match="RERANKER_RECIPE"):
        detect(shelf.path("bge_gemma"), "my/qwen3-reranker")


@pytest.mark.parametrize(
    ("labels", "read"),
    [({"0": "0", "1": "1"}, (1, 0)), ({"0": "1", "1": "0"}, (0, 1)), ({"0": "LABEL_0", "1": "LABEL_1"}, None), ({"0": "a"}, ())],
)
def test_two_labels(shelf: Shelf, tmp_path: Path, labels: dict[str, str], read: tuple[int, ...] | None) -> None:
    """A conversion with both verdicts is read as the better less the worse, by their names; names that say nothing are refused."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("mxbai_labels"), directory)
    edit_json(directory / "config.json", id2label=labels)
    if read is None:
        with pytest.raises(UnsupportedModel, match=r"2 labels called label_0, label_1 .*or 0 and 1"):
            detect(directory, "m")
        return
    family = detect(directory, "m").family
    assert (family.name, family.labels) == ("mxbai-rerank-v2-classifier", read)
    assert detect(directory, "m", recipe="mxbai-rerank-v2").family.labels == read


@pytest.mark.parametrize(
    ("name", "changes", "longest", "default"),
    [
        ("qwen3_logit_score", {}, 40_960, 8192),
        ("nemotron", {}, 8192, 512),
        ("jina_v3", {"max_position_embeddings": 131_072}, 131_072, 2560),
        ("modernbert", {}, 8192, 8192),
        ("gte_remote", {}, 8192, 8192),
        ("jina_v2", {}, 1024, 1024),
    ],
)
def test_longest(shelf: Shelf, tmp_path: Path, name: str, changes: dict[str, object], longest: int, default: int) -> None:
    """max_length may be set up to the model's own, and is the reference's where nobody sets it."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path(name), directory)
    edit_json(directory / "config.json", **changes)
    card = detect(directory, "m")
    assert (card.max_length, card.default_max_length) == (longest, default)
    if name != "jina_v3":
        row = rows(Encoder(card).encode("a", ["word " * 2 * longest], max_length=longest))[0]
        assert len(row) == longest


def test_listwise_releases(shelf: Shelf, tmp_path: Path) -> None:
    """jina-reranker-v3.5 reads longer text, and is known by its sliding layers or its name."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("jina_v3"), directory)
    assert detect(directory, "m").family.document_tokens == 2048
    assert detect(directory, "jinaai/jina-reranker-v3.5").family.document_tokens == 8192
    edit_json(directory / "config.json", layer_types=["sliding_attention", "full_attention"], sliding_window=1024)
    card = detect(directory, "m")
    assert (card.family.document_tokens, card.family.query_tokens, card.default_max_length) == (8192, 1024, 9216)


def test_the_order_of_the_rules(shelf: Shelf, tmp_path: Path) -> None:
    """What stands for code of its own wins over the class, the class of a listwise model over its model_type, modules over both."""
    directory = tmp_path / "jina"
    shutil.copytree(shelf.path("jina_v2"), directory)
    assert detect(directory, "m").family.name == "jina-v2"
    edit_json(directory / "config.json", auto_map=..., model_type="xlm-roberta")
    assert detect(directory, "m").family.name == "xlm-roberta"
    assert detect(shelf.path("jina_v3"), "Qwen3-Reranker-0.6B").family.name == "jina-reranker-v3"
    assert detect(shelf.path("ettin"), "m").family.name == "module-chain"
    chain = tmp_path / "chain"
    shutil.copytree(shelf.path("ettin"), chain)
    (chain / "modules.json").unlink()
    with pytest.raises(UnsupportedModel, match="bare encoder"):
        detect(chain, "m")


def test_scales(shelf: Shelf, tmp_path: Path) -> None:
    """zerank divides by five, mxbai's shift depends on the model's size, and a checkpoint's own activation comes before both."""
    assert detect(shelf.path("zerank"), "zerank-2").scale == 5.0
    assert detect(shelf.path("mxbai_v2"), "mxbai-rerank-large-v2").shift == 6.0
    directory = tmp_path / "mxbai-rerank-base-v2"
    shutil.copytree(shelf.path("mxbai_v2"), directory)
    edit_json(directory / "config.json", hidden_size=896)
    assert detect(directory, "m").shift == 4.5
    edit_json(directory / "config_sentence_transformers.json", activation_fn="torch.nn.modules.activation.Sigmoid")
    assert (detect(directory, "m").activation, detect(directory, "m").shift) == ("sigmoid", 0.0)


@pytest.mark.parametrize("labels", [{"0": "0", "1": "1"}, {"0": "LABEL_0"}])
@pytest.mark.parametrize("recipe", [None, "mxbai-rerank-v2"])
@pytest.mark.parametrize(("hidden", "estimated_max"), [(896, 9.0), (1536, 12.0)])
def test_the_scale_of_converted_classifiers(
    shelf: Shelf, tmp_path: Path, labels: dict[str, str], recipe: str | None, hidden: int, estimated_max: float
) -> None:
    """A conversion of either size, of one label or two, gives what mxbai_rerank_v2.py normalises to, whatever told its family."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("mxbai_labels"), directory)
    edit_json(directory / "config.json", id2label=labels, hidden_size=hidden)
    raw = np.array([-3.0, 4.5, 11.0], np.float32)
    reference = torch.sigmoid(torch.from_numpy(raw).double() - estimated_max / 2).numpy()
    np.testing.assert_allclose(activate(raw, detect(directory, "m", recipe)), reference, rtol=1e-12)


def test_score_tokens(shelf: Shelf, tmp_path: Path) -> None:
    """LogitScore's ids and ctxl's row 0 are given by the names of their tokens."""
    reference = shelf.reference("qwen3")
    assert detect(shelf.path("ctxl"), "m", recipe="ctxl-rerank-v2").family.yes == reference.convert_ids_to_tokens(0)
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("qwen3_logit_score"), directory)
    yes, no = reference.convert_tokens_to_ids(["Yes", "No"])
    edit_json(directory / "1_LogitScore" / "config.json", true_token_id=yes, false_token_id=no)
    assert (detect(directory, "m").family.yes, detect(directory, "m").family.no) == ("Yes", "No")
    edit_json(directory / "1_LogitScore" / "config.json", false_token_id=None)
    assert detect(directory, "m").family.no is None
    edit_json(directory / "1_LogitScore" / "config.json", true_token_id=10**6)
    with pytest.raises(UnsupportedModel, match="no token 1000000"):
        detect(directory, "m")


def test_a_reranking_template_that_is_not_known(shelf: Shelf, tmp_path: Path) -> None:
    """A checkpoint with a template of its own for query and document is not scored by another one's."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("qwen3_logit_score"), directory)
    (directory / "chat_template.jinja").write_text("{% if message.role == 'document' %}Say {{ message.content }}{% endif %}")
    with pytest.raises(UnsupportedModel, match="chat template of its own"):
        detect(directory, "m")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architectures": ["JinaVLForRanking"]}, "jina-reranker-m0"),
        ({"architectures": ["CostWiseGemmaForCausalLM"], "model_type": "cost_wise_gemma"}, "bge-reranker-v2-gemma"),
        ({"architectures": ["Qwen3VLForConditionalGeneration"]}, "images"),
        ({"architectures": ["Qwen3ForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}, "2 labels called a, b"),
        ({"architectures": ["PhiForSequenceClassification"], "model_type": "phi3"}, "RERANKER_RECIPE"),
    ],
)
def test_refused_by_name(shelf: Shelf, tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    """What is recognised and can't be served says what to use, or what to set."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("qwen3"), directory)
    edit_json(directory / "config.json", **changes)
    with pytest.raises(UnsupportedModel, match=reason):
        detect(directory, "m")


def test_pooling_of_modernbert(shelf: Shelf, tmp_path: Path) -> None:
    """config.json's classifier_pooling is read, and an unknown one refused."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("modernbert"), directory)
    edit_json(directory / "config.json", classifier_pooling="cls")
    assert detect(directory, "m").family.read == "first"
    edit_json(directory / "config.json", classifier_pooling="max")
    with pytest.raises(UnsupportedModel, match="max"):
        detect(directory, "m")


def test_a_chain_that_ends_in_two(shelf: Shelf, tmp_path: Path) -> None:
    """A chain of modules that ends in more than one number is refused."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("ettin"), directory)
    edit_json(directory / "4_Dense" / "config.json", out_features=2)
    with pytest.raises(UnsupportedModel, match="2 numbers"):
        detect(directory, "m")


def test_a_joint_that_is_not_safe(shelf: Shelf) -> None:
    """Where a layout is cut at a place that this tokenizer reads across, its pieces are joined again and the ids are still the recipe's."""
    layout = (Piece("question:{query} \n \n passage:"), Piece("{document}"))
    card = shelf.card("nemotron")
    encoder = Encoder(replace(card, family=replace(nemotron.FAMILY, layout=layout, causal=True, shared_pieces=1)))
    documents = [*DOCUMENTS, " led", "(a)", "\n"]
    ours = encoder.encode(QUERY, documents)
    assert not ours.sequences.shared
    assert rows(ours) == [recipes.nemotron(shelf.reference("nemotron"), QUERY, document, None, 512) for document in documents]
    cut = rows(encoder.encode(QUERY, ["word " * 500], max_length=40))[0]
    assert cut == recipes.nemotron(shelf.reference("nemotron"), QUERY, "word " * 500, None, 40)


def test_template_files_of_old_tokenizers(shelf: Shelf, tmp_path: Path) -> None:
    """A chat template inside tokenizer_config.json counts as one of its own file."""
    directory = tmp_path / "model"
    shutil.copytree(shelf.path("qwen3_logit_score"), directory)
    template = (directory / "chat_template.jinja").read_text()
    (directory / "chat_template.jinja").unlink()
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    assert detect(directory, "m").family.name == "qwen3-reranker"

"""Files that sentence-transformers leaves beside a model, read as it reads them itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import CrossEncoder

from batching.families.activate import activate
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY, SENTENCES
from tests.checkpoints.weights import edit_json
from tests.models import references
from tests.models.cases import FLOAT32, scale
from tests.models.packs import scores

PLAIN = ScoringOptions(forward="transformers")
Edit = Callable[[Path], object]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"])
def test_older_names_of_the_length_file(tmp_path: Path, kind: str) -> None:
    """max_seq_length is found under each of them."""
    directory = checkpoints.bi_encoder(tmp_path / "m", max_length=24)
    (directory / "sentence_bert_config.json").rename(directory / f"sentence_{kind}_config.json")
    documents = [*DOCUMENTS, " ".join(SENTENCES)]
    want = references.sentence_encoder(directory, QUERY, documents)
    card = detect(directory, "m")
    assert card.max_length == 24
    np.testing.assert_allclose(scores(load_scorer(card, PLAIN), Encoder(card).encode(QUERY, documents).sequences), want, atol=1e-5)


@pytest.mark.parametrize("activation", [..., "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"])
def test_the_activation_of_a_chain(tmp_path: Path, activation: object) -> None:
    """That of config_sentence_transformers.json, or CrossEncoder's own for one number."""
    directory = checkpoints.ettin(tmp_path / "m")
    edit_json(directory / "config_sentence_transformers.json", activation_fn=activation)
    want = CrossEncoder(str(directory), device="cpu").predict([(QUERY, text) for text in DOCUMENTS], show_progress_bar=False)
    card = detect(directory, "m")
    raw = scores(load_scorer(card, PLAIN), Encoder(card).encode(QUERY, DOCUMENTS).sequences)
    np.testing.assert_allclose(activate(raw, card), want, atol=1e-5)


def say(**words: object) -> Edit:
    """Keys of config_sentence_transformers.json."""
    return lambda directory: edit_json(directory / "config_sentence_transformers.json", **words)


def add_dense(directory: Path) -> None:
    """A Dropout and a Dense whose file names no activation, behind the unit vectors, which are compared by their dot product."""
    modules = json.loads((directory / "modules.json").read_text("utf-8"))
    for number, kind in ((3, "Dense"), (4, "Dropout")):
        modules.append({"idx": number, "name": str(number), "path": f"{number}_{kind}", "type": f"sentence_transformers.models.{kind}"})
    edit_json(directory / "4_Dropout" / "config.json", dropout=0.5)
    (directory / "modules.json").write_text(json.dumps(modules), "utf-8")
    edit_json(directory / "3_Dense" / "config.json", in_features=32, out_features=8, bias=False)
    weight = 3 * torch.randn((8, 32), generator=torch.Generator().manual_seed(1))
    save_file({"linear.weight": weight}, directory / "3_Dense" / "model.safetensors")
    say(similarity_fn_name="dot")(directory)


def add_metadata(directory: Path) -> None:
    """What PyLate's files stand for in Stanford's, with other values."""
    say(model_type="ColBERT")(directory)
    edit_json(directory / "config.json", architectures=["HF_ColBERT"])
    edit_json(directory / "artifact.metadata", query_token_id="[unused5]", query_maxlen=20, doc_maxlen=40, attend_to_mask_tokens=True)


LONG = " ".join(SENTENCES * 8)
MARKED = {"query": "[MASK] [SEP]q: ", "document": "d[MASK]"}


@pytest.mark.parametrize(
    "edit",
    [
        add_dense,
        say(truncate_dim=8),
        say(truncate_dim=8, similarity_fn_name="dot"),
        lambda directory: edit_json(directory / "tokenizer_config.json", model_max_length=20),
        say(prompts=MARKED),
    ],
    ids=["dense", "truncate_dim", "truncate_dim of a dot product", "tokenizer's length", "special tokens in prompts"],
)
def test_embeddings(tmp_path: Path, edit: Edit) -> None:
    """Similarities are the library's."""
    agree(checkpoints.bi_encoder(tmp_path / "m"), edit, references.sentence_encoder)


@pytest.mark.parametrize(
    ("make", "edit"),
    [
        (checkpoints.modern_colbert, say()),
        (checkpoints.modern_colbert, lambda directory: edit_json(directory / "sentence_bert_config.json", max_seq_length=100)),
        (checkpoints.modern_colbert, say(prompts={"query": "search: ", "document": "[D] passage: "})),
        (checkpoints.colbert, lambda directory: (directory / "artifact.metadata").unlink()),
        (checkpoints.modern_colbert, add_metadata),
    ],
    ids=["document_length", "before max_seq_length", "prompts behind markers", "no artifact.metadata", "stale artifact.metadata"],
)
def test_late_interaction(tmp_path: Path, make: Callable[[Path], Path], edit: Edit) -> None:
    """Long documents are cut where the library cuts them; prompts and markers are its own."""
    agree(make(tmp_path / "m"), edit, references.late_interaction)


@pytest.mark.parametrize("words", [{}, {"prompts": {"cats": "Find cats"}, "default_prompt_name": "cats"}], ids=["plain", "prompt"])
def test_a_logit_score(tmp_path: Path, words: dict[str, object]) -> None:
    """What CrossEncoder makes of the chat template is the family's own layout; its default prompt is the instruction."""
    bound = 10 * FLOAT32  # it pads on the left, and so turns short texts by large angles
    agree(checkpoints.qwen3_logit_score(tmp_path / "m"), say(**words), references.cross_encoder, bound)


def agree(directory: Path, edit: Edit, reference: Callable[..., references.Raw], bound: float = FLOAT32) -> None:
    """Hold the program against the library on the edited checkpoint."""
    edit(directory)
    documents = [*DOCUMENTS, LONG]
    want = reference(directory, QUERY, documents)
    card = detect(directory, "m")
    got = scores(load_scorer(card, PLAIN), Encoder(card).encode(QUERY, documents).sequences)
    np.testing.assert_allclose(got, want, atol=bound * scale(want), rtol=0)

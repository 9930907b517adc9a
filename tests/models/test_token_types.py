"""A pair has token types where the checkpoint's own tokenizer gives them and its model has rows for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from batching.errors import UnsupportedModel
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY
from tests.checkpoints.weights import edit_json
from tests.models import references
from tests.models.cases import FLOAT32, scale
from tests.models.packs import scores

UNTYPED, WITH_TYPES = ["input_ids", "attention_mask"], ["input_ids", "token_type_ids", "attention_mask"]


def with_rows(make: Callable[[Path], Path], rows: int, directory: Path) -> Path:
    """A checkpoint whose model has so many rows for token types."""
    make(directory)
    path = directory / "model.safetensors"
    tensors = load_file(path)
    name = next(
        (name for name in tensors if name.endswith("token_type_embeddings.weight")), "deberta.embeddings.token_type_embeddings.weight"
    )
    tensors[name] = torch.randn((rows, 32), generator=torch.Generator().manual_seed(5))
    save_file(tensors, path, metadata={"format": "pt"})
    edit_json(directory / "config.json", type_vocab_size=rows)
    return directory


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (checkpoints.bert, references.classifier),
        (checkpoints.electra, references.classifier),
        (checkpoints.albert, references.classifier),
        (checkpoints.distilbert, references.classifier),
        (checkpoints.bert_chain, references.cross_encoder),
        (checkpoints.ettin, references.cross_encoder),
        (checkpoints.deberta, references.classifier),
        (partial(with_rows, checkpoints.deberta, 2), references.classifier),
        (partial(with_rows, checkpoints.bert, 3), references.classifier),
    ],
)
@pytest.mark.parametrize("names", [..., UNTYPED, WITH_TYPES])
def test_types_are_the_tokenizers(
    tmp_path: Path, make: Callable[[Path], Path], reference: Callable[..., references.Raw], names: object
) -> None:
    """Those of model_input_names, or of the tokenizer's class where it is silent."""
    directory = make(tmp_path / "m")
    if names != WITH_TYPES or "type_vocab_size" in json.loads((directory / "config.json").read_text("utf-8")):
        edit_json(directory / "tokenizer_config.json", model_input_names=names)
    want = reference(directory, QUERY, DOCUMENTS)
    card = detect(directory, "m")
    got = scores(load_scorer(card, ScoringOptions(forward="transformers")), Encoder(card).encode(QUERY, DOCUMENTS).sequences)
    np.testing.assert_allclose(got, want, atol=FLOAT32 * scale(want), rtol=0)


def test_a_model_without_a_row_for_documents(tmp_path: Path) -> None:
    """transformers would look for row 1 of a table of one; without types such a model is as good as any."""
    directory = with_rows(checkpoints.bert, 1, tmp_path / "m")
    with pytest.raises(UnsupportedModel, match=r"type_vocab_size 1, .*model_input_names"):
        detect(directory, "m")
    edit_json(directory / "tokenizer_config.json", model_input_names=UNTYPED)
    want = references.classifier(directory, QUERY, DOCUMENTS)
    card = detect(directory, "m")
    got = scores(load_scorer(card, ScoringOptions(forward="transformers")), Encoder(card).encode(QUERY, DOCUMENTS).sequences)
    np.testing.assert_allclose(got, want, atol=FLOAT32 * scale(want), rtol=0)

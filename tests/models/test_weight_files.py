"""Weights come from the files that transformers reads, whatever else lies in the folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY
from tests.models import decoders, prompts, references
from tests.models.cases import FLOAT32, scale
from tests.models.packs import scores

PLAIN = ScoringOptions(forward="transformers")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Tensors = dict[str, torch.Tensor]


def others(tensors: Tensors) -> Tensors:
    """Another model's weights of the same shapes."""
    generator = torch.Generator().manual_seed(7)
    return {name: tensor + 0.3 * torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()}


def write_shards(directory: Path, tensors: Tensors, *, index: bool) -> None:
    """`tensors` in two files, and perhaps the index over them."""
    names = sorted(tensors)
    parts = {SHARDS[0]: names[::2], SHARDS[1]: names[1::2]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, directory / file, metadata={"format": "pt"})
    if index:
        places = {name: file for file, own in parts.items() for name in own}
        (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}), "utf-8")


def add_stale_shards(directory: Path, *, index: bool) -> None:
    """An older save's shards beside the single file."""
    write_shards(directory, others(load_file(directory / "model.safetensors")), index=index)


def add_stray_heads(directory: Path) -> None:
    """Files of a training run, with names that come before and behind the model's own."""
    tensors = others(load_file(directory / "model.safetensors"))
    for file in ("best.safetensors", "model_old.safetensors", "scores.safetensors"):
        save_file(tensors, directory / file, metadata={"format": "pt"})


def shard(directory: Path) -> None:
    """The model itself in shards, beside a stray file."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    save_file(others(tensors), directory / "best.safetensors", metadata={"format": "pt"})
    write_shards(directory, tensors, index=True)


@pytest.mark.parametrize(
    "litter",
    [partial(add_stale_shards, index=True), partial(add_stale_shards, index=False), add_stray_heads, shard],
    ids=["index", "shards", "stray", "sharded"],
)
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("bert", references.classifier),
        ("qwen3", partial(decoders.verdict, prompt=prompts.qwen3, yes="yes", no="no")),
        ("qwen3_classifier", partial(decoders.classified, prompt=prompts.qwen3)),
        ("colbert", references.late_interaction),
        ("jina_v2", partial(references.converted, make=partial(checkpoints.xlm_roberta, max_length=1024))),
    ],
)
def test_other_files_change_nothing(
    tmp_path: Path, litter: Callable[[Path], None], name: str, reference: Callable[..., references.Raw]
) -> None:
    """Heads and bodies are those that the reference loads from the same folder."""
    directory = getattr(checkpoints, name)(tmp_path / "m")
    whole = reference(directory, QUERY, DOCUMENTS)
    litter(directory)
    # MultiVectorEncoder reads no shards
    want = whole if (name, litter) == ("colbert", shard) else reference(directory, QUERY, DOCUMENTS)
    np.testing.assert_allclose(want, whole, atol=FLOAT32 * scale(want), rtol=0)
    card = detect(directory, "m", checkpoints.RECIPES.get(name))
    got = scores(load_scorer(card, PLAIN), Encoder(card).encode(QUERY, DOCUMENTS).sequences)
    np.testing.assert_allclose(got, want, atol=FLOAT32 * scale(want), rtol=0)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("qwen3", partial(decoders.verdict, prompt=prompts.qwen3, yes="yes", no="no")),
        ("bge_gemma", partial(decoders.verdict, prompt=prompts.bge, yes="Yes")),
    ],
)
def test_a_tied_model_with_an_output_embedding_of_its_own(
    tmp_path: Path, name: str, reference: Callable[..., references.Raw], same: bool
) -> None:
    """It is read if it differs, whatever config.json says, as transformers does not tie then."""
    directory = getattr(checkpoints, name)(tmp_path / "m")
    path = directory / "model.safetensors"
    tensors = load_file(path)
    own = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"] = own if same else others({"": own})[""]
    save_file(tensors, path, metadata={"format": "pt"})
    want = reference(directory, QUERY, DOCUMENTS)
    card = detect(directory, "m", checkpoints.RECIPES[name])
    got = scores(load_scorer(card, PLAIN), Encoder(card).encode(QUERY, DOCUMENTS).sequences)
    np.testing.assert_allclose(got, want, atol=FLOAT32 * scale(want), rtol=0)

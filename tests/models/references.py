"""Independent references: the plain Hugging Face forward on padded input, and sentence-transformers. No code of the program."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoTokenizer, XLMRobertaTokenizer

Raw = NDArray[np.float32]


def classifier(directory: Path, query: str, documents: Sequence[str], *, dtype: torch.dtype = torch.float32, max_length: int = 512) -> Raw:
    """Logits of AutoModelForSequenceClassification on padded tokenizer pairs, float32 [n]."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()
    fields = tokenizer(
        [query] * len(documents), list(documents), padding=True, truncation="only_second", max_length=max_length, return_tensors="pt"
    )
    with torch.inference_mode():
        return model(**fields).logits[:, 0].float().numpy()


def sentence_encoder(directory: Path, query: str, documents: Sequence[str], *, dtype: torch.dtype = torch.float32) -> Raw:
    """Similarities of SentenceTransformer's query and document embeddings, float32 [n]."""
    with warnings.catch_warnings():
        # its own reading of old module files warns about itself
        warnings.simplefilter("ignore", DeprecationWarning)
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": dtype})
    asked = model.encode_query([query], convert_to_tensor=True, show_progress_bar=False).float()
    found = model.encode_document(list(documents), convert_to_tensor=True, show_progress_bar=False).float()
    return model.similarity(asked, found)[0].numpy()


def converted(directory: Path, query: str, documents: Sequence[str], *, make: Callable[[Path], Path]) -> Raw:
    """`classifier` on the same weights as `make` writes them, in transformers' own class: for checkpoints under foreign names."""
    native = directory.parent / "native"
    return classifier(native if native.exists() else make(native), query, documents)


def cross_encoder(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """Raw scores of sentence_transformers.CrossEncoder."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(directory), device="cpu")
    found = model.predict([(query, document) for document in documents], activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return np.asarray(found, np.float32)


def late_interaction(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """MaxSim of sentence_transformers.MultiVectorEncoder."""
    # it logs which punctuation a small vocabulary lacks
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(directory), device="cpu")
    asked, found = model.encode_query([query], show_progress_bar=False), model.encode_document(list(documents), show_progress_bar=False)
    return model.similarity(asked, found)[0].float().numpy()


def gte(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """Alibaba-NLP/new-impl's modeling.py, written out, pair by pair: its NTK rope at all lengths, gated feed-forward, norms behind."""
    config, tensors = json.loads((directory / "config.json").read_text("utf-8")), load_file(directory / "model.safetensors")
    tensors = {name.removeprefix("new.").removeprefix("gte."): tensor for name, tensor in tensors.items()}
    pairs = XLMRobertaTokenizer.from_pretrained(directory)([query] * len(documents), list(documents)).input_ids
    return np.array([_gte_score(ids, tensors, config) for ids in pairs], np.float32)


def _gte_score(ids: list[int], tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> float:
    heads, size = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
    frequencies = (20_000.0 * 8) ** (-torch.arange(0, size, 2) / size) / 8 ** (2 / size)
    angles = torch.outer(torch.arange(len(ids)).float(), frequencies).repeat(1, 2)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-12)

    x = tensors["embeddings.word_embeddings.weight"][torch.tensor(ids)] + tensors["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}."
        q, k, v = (part.view(len(ids), heads, size).transpose(0, 1) for part in linear(x, f"{name}attention.qkv_proj").chunk(3, -1))
        q, k = (part * angles.cos() + torch.cat([-part[..., size // 2 :], part[..., : size // 2]], -1) * angles.sin() for part in (q, k))
        attended = ((q @ k.transpose(1, 2) / size**0.5).softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = norm(x + linear(attended, f"{name}attention.o_proj"), f"{name}attn_ln")
        up, gate = linear(x, f"{name}mlp.up_gate_proj").chunk(2, -1)
        x = norm(x + linear(functional.gelu(gate) * up, f"{name}mlp.down_proj"), f"{name}mlp_ln")
    return float(linear(torch.tanh(linear(x[0], "pooler.dense")), "classifier"))

"""Small random encoders and what Hugging Face makes of them: padded batches, the reference that the packed forward is held against."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from batching.scoring.onednn import library
from batching.scoring.onednn.support import has_vnni
from batching.types import Int32s

LONGEST = 640
VOCABULARY = 211
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 160,
    "max_position_embeddings": LONGEST + 2,
    "initializer_range": 0.08,
}
_KINDS: dict[str, tuple[type[PreTrainedModel], Any, dict[str, Any]]] = {
    "bert": (BertModel, BertConfig, {}),
    "electra": (ElectraModel, ElectraConfig, {"embedding_size": 32}),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig, {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "roberta": (RobertaModel, RobertaConfig, {"hidden_act": "gelu_new"}),
    "camembert": (CamembertModel, CamembertConfig, {"hidden_act": "relu"}),
}
KINDS = tuple(_KINDS)
_NO_SIMD = pytest.mark.skipif(library.missing() is not None, reason=str(library.missing()))
BACKENDS = ("onednn", *(pytest.param(name, marks=_NO_SIMD) for name in ("onednn+simd", "simd")))
"""What an encoder can be computed by: torch's operators between products, our own C, and our own products too."""
NEEDS_VNNI = pytest.mark.skipif(not has_vnni(), reason="oneDNN's products of bytes overflow where there is no AVX-512 VNNI")
INT8_BACKENDS = (
    pytest.param("onednn", marks=NEEDS_VNNI),
    pytest.param("onednn+simd", marks=(NEEDS_VNNI, _NO_SIMD)),
    pytest.param("simd", marks=_NO_SIMD),
)


@cache
def model_of(kind: str, **changes: Any) -> PreTrainedModel:
    """A random model; norms and biases are random too, so that leaving one out shows."""
    make, config, extra = _KINDS[kind]
    torch.manual_seed(7)
    model = make(config(**{**_SIZES, **extra, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
            elif "LayerNorm" in name:
                parameter.normal_(1.0, 0.1)
    return model


def batch_of(lengths: list[int], *, types: int = 1, seed: int = 0) -> tuple[Int32s, Int32s, Int32s]:
    """Random ids (none of them padding), lengths, random types below `types`."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    ids = rng.integers(5, VOCABULARY, total, dtype=np.int32)
    return ids, np.array(lengths, dtype=np.int32), rng.integers(0, types, total, dtype=np.int32)


def types_of(kind: str) -> int:
    """Rows of the model's token type table."""
    return int(model_of(kind).config.type_vocab_size)


@torch.inference_mode()
def padded(model: PreTrainedModel, ids: Int32s, lengths: Int32s, types: Int32s) -> list[Tensor]:
    """Hugging Face's hidden states, one tensor [length, H] per sequence, from one padded batch."""
    shape = (len(lengths), int(lengths.max()))
    rows = torch.full(shape, int(model.config.pad_token_id), dtype=torch.long)
    mask, kinds = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    begin = 0
    for row, length in enumerate(lengths.tolist()):
        rows[row, :length] = torch.from_numpy(ids[begin : begin + length])
        kinds[row, :length] = torch.from_numpy(types[begin : begin + length])
        mask[row, :length] = 1
        begin += length
    hidden = model(input_ids=rows, attention_mask=mask, token_type_ids=kinds).last_hidden_state
    return [hidden[row, :length] for row, length in enumerate(lengths.tolist())]


def read(hidden: list[Tensor], how: str) -> Tensor:
    """What the encoder returns for `how`, from the reference's hidden states."""
    if how == "all":
        return torch.cat(hidden)
    pick = {"first": lambda rows: rows[0], "last": lambda rows: rows[-1], "mean": lambda rows: rows.mean(0)}[how]
    return torch.stack([pick(rows) for rows in hidden])

"""Alibaba's gte encoder for releases of transformers that lack it (below 5.23): NomicBert, which differs by a few biases alone.

Registered beside transformers' classes where those have none, so that nothing else needs to know.
"""

from __future__ import annotations

import re

import transformers
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    NomicBertConfig,
    NomicBertForSequenceClassification,
    NomicBertModel,
)

MISSING = not hasattr(transformers, "GteConfig")
"""Whether this release of transformers has no class for gte."""
RENAMED = (
    (r"^(new|gte)\.", "nomic_bert."),
    (r"encoder\.layer\.", "layers."),
    (r"attention\.o_proj\.", "self_attn.o_proj."),
    (r"attn_ln\.", "post_attention_layernorm."),
    (r"mlp_ln\.", "post_mlp_layernorm."),
)
FUSED = {
    "attention.qkv_proj.": ("self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."),
    "mlp.up_gate_proj.": ("mlp.up_proj.", "mlp.gate_proj."),
}
"""Tensors that hold several of the class's, one below the other (models.md 3.6)."""


class GteConfig(NomicBertConfig):  # type: ignore[misc]
    """NomicBert's under gte's name."""

    model_type = "gte"


class GteModel(NomicBertModel):  # type: ignore[misc]
    """The encoder."""

    config_class = GteConfig

    def __init__(self, config: GteConfig, add_pooling_layer: bool = False) -> None:
        super().__init__(config, add_pooling_layer)
        for layer in self.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for owner, name in [(attention, f"{part}_proj") for part in "qkvo"] + [(mlp, "down_proj")]:
                plain = getattr(owner, name)
                setattr(owner, name, nn.Linear(plain.in_features, plain.out_features))


class GteForSequenceClassification(NomicBertForSequenceClassification):  # type: ignore[misc]
    """The encoder, its pooler and a linear."""

    config_class = GteConfig

    def __init__(self, config: GteConfig) -> None:
        super().__init__(config)
        self.nomic_bert = GteModel(config, add_pooling_layer=True)


def rename_gte(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One tensor of gte's files under the names above; fused ones become several."""
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    fused = next((part for part in FUSED if part in name), None)
    if fused is None:
        return {name: tensor}
    before, _, after = name.partition(fused)
    return {f"{before}{part}{after}": chunk.contiguous() for part, chunk in zip(FUSED[fused], tensor.chunk(len(FUSED[fused])), strict=True)}


if MISSING:
    MODEL_MAPPING.register(GteConfig, GteModel)
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.register(GteConfig, GteForSequenceClassification)

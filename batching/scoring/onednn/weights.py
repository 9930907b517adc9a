"""The weights of a BERT-shaped encoder, taken out of a loaded Hugging Face model and named by what they do. Copies nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

BODIES = frozenset({"bert", "camembert", "electra", "roberta", "xlm-roberta"})
"""`model_type`s whose modules carry the names read here: post-norm layers, absolute positions."""
ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_fast": ("gelu", "tanh"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
    "swish": ("swish", ""),
}
"""`hidden_act` to the name and the algorithm of oneDNN's post-operation."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`weight` [out, in], `bias` [out]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Norm:
    """A LayerNorm's `weight` and `bias` [H]."""

    weight: Tensor
    bias: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One transformer layer; each norm follows its residual."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class EmbeddingWeights:
    """Tables [entries, E], the norm of their sum, and Electra's projection to H where E differs."""

    words: Tensor
    positions: Tensor
    types: Tensor
    norm: Norm
    projection: Linear | None


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """A whole body. `position_offset`: the first token's row in the position table."""

    embeddings: EmbeddingWeights
    layers: tuple[LayerWeights, ...]
    heads: int
    activation: tuple[str, str]
    position_offset: int


def unlike(model: PreTrainedModel) -> str | None:
    """Why `model` has not the shape that is read here, in one line; None when it has."""
    config = model.config
    if config.model_type not in BODIES:
        return f"model_type {config.model_type!r} has no forward of its own; these have: {', '.join(sorted(BODIES))}"
    if config.hidden_act not in ACTIVATIONS:
        return f"the activation {config.hidden_act!r} has no oneDNN counterpart"
    if config.is_decoder or getattr(config, "position_embedding_type", "absolute") != "absolute":
        return "only encoders with absolute positions have a forward of their own"
    return None


def unsupported(model: PreTrainedModel) -> str | None:
    """Why `model` can't run on oneDNN, in one line; None when it can."""
    if any(parameter.device.type != "cpu" for parameter in model.parameters()):
        return "the model is not on the CPU"
    return unlike(model)


def read_weights(model: PreTrainedModel) -> EncoderWeights:
    """Take a base model's weights, wherever they are; raises ValueError with the reason for a model that `unlike` names."""
    reason = unlike(model)
    if reason is not None:
        raise ValueError(reason)
    tables: Any = model.embeddings
    projection: nn.Linear | None = getattr(model, "embeddings_project", None)
    pad = tables.position_embeddings.padding_idx
    return EncoderWeights(
        embeddings=EmbeddingWeights(
            words=tables.word_embeddings.weight.detach(),
            positions=tables.position_embeddings.weight.detach(),
            types=tables.token_type_embeddings.weight.detach(),
            norm=_norm(tables.LayerNorm),
            projection=None if projection is None else _linear(projection),
        ),
        layers=tuple(_layer(layer) for layer in model.encoder.layer),
        heads=model.config.num_attention_heads,
        activation=ACTIVATIONS[model.config.hidden_act],
        position_offset=0 if pad is None else pad + 1,
    )


def _layer(layer: Any) -> LayerWeights:
    attention = layer.attention
    return LayerWeights(
        query=_linear(attention.self.query),
        key=_linear(attention.self.key),
        value=_linear(attention.self.value),
        output=_linear(attention.output.dense),
        attention_norm=_norm(attention.output.LayerNorm),
        up=_linear(layer.intermediate.dense),
        down=_linear(layer.output.dense),
        norm=_norm(layer.output.LayerNorm),
    )


def _linear(module: nn.Linear) -> Linear:
    return Linear(module.weight.detach(), module.bias.detach())


def _norm(module: nn.LayerNorm) -> Norm:
    return Norm(module.weight.detach(), module.bias.detach(), module.eps)

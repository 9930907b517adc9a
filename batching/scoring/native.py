"""Checkpoints that were published with code of their own and are a class that transformers has: their configs, and tensors under new names.

The code is never run. A key that the native class can't honour is refused by name, since ignoring it would give wrong scores silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor
from transformers import LlamaConfig, PreTrainedConfig, XLMRobertaConfig

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard
from batching.scoring import gte
from batching.scoring.gte import GteConfig
from batching.scoring.tensors import read_tensors

KEEP = ("num_labels", "id2label", "label2id", "architectures", "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings")
LLAMA_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters",
    "attention_bias", "mlp_bias",
)  # fmt: skip
ENCODER_KEYS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "max_position_embeddings",
    "type_vocab_size", "layer_norm_eps", "classifier_dropout",
)  # fmt: skip
JINA_NAMES = (
    (r"\bemb_ln\.", "embeddings.LayerNorm."),
    (r"encoder\.layers\.", "encoder.layer."),
    (r"mixer\.out_proj\.", "attention.output.dense."),
    (r"norm1\.", "attention.output.LayerNorm."),
    (r"mlp\.fc1\.", "intermediate.dense."),
    (r"mlp\.fc2\.", "output.dense."),
    (r"norm2\.", "output.LayerNorm."),
)


def llama_config(card: ModelCard) -> PreTrainedConfig:
    """nvidia's llama_bidirec: Llama, every layer seeing both sides (models.md 4.8); the vision model's language part likewise."""
    _expect(card, pooling="avg")
    config = card.config.get("llm_config") or card.config
    _without_window(card, config)
    return LlamaConfig(**_pick(config, LLAMA_KEYS), **_pick(card.config, KEEP), is_causal=False)


def vision_language_tensors(card: ModelCard, folder: Path) -> dict[str, Tensor]:
    """The text part of nvidia's vision-language reranker (models.md 4.9), under Llama's names."""
    prefix = re.compile(r"^(model\.)?language_model\.(model\.)?")
    found = read_tensors(folder, prefix)
    return {prefix.sub("", name): tensor for name, tensor in found.items() if "lm_head" not in name}


def gte_config(card: ModelCard) -> PreTrainedConfig:
    """Alibaba's "new" encoder as transformers' gte, its NTK rope written as the linear one it equals (models.md 3.6)."""
    config = card.config
    kind = GteConfig if gte.MISSING else transformers.GteConfig
    _expect(card, position_embedding_type="rope", layer_norm_type="layer_norm", logn_attention_scale=False)
    if gte.MISSING and not config.get("type_vocab_size", 1):
        raise UnsupportedModel(f"{card.name}: type_vocab_size is 0 in config.json, which needs transformers 5.23 or newer; install that")
    theta, scaling = float(config.get("rope_theta") or 10_000.0), config.get("rope_scaling")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if scaling is not None:
        if scaling.get("type") != "ntk":
            raise UnsupportedModel(f"{card.name}: rope_scaling is {scaling}; the type ntk is supported")
        factor = float(scaling["factor"])
        head = int(config["hidden_size"]) // int(config["num_attention_heads"])
        rope = {"rope_type": "linear", "rope_theta": theta * factor, "factor": factor ** (2.0 / head)}
    rope = config.get("rope_parameters") or rope
    return kind(**({"hidden_act": "gelu"} | _pick(config, (*ENCODER_KEYS, *KEEP))), rope_parameters=rope)


def gte_tensors(card: ModelCard, folder: Path) -> dict[str, Tensor] | None:
    """All of gte's tensors under the names of the class that stands in for transformers' own; None where that is there."""
    if not gte.MISSING:
        return None
    return {new: part for name, tensor in read_tensors(folder).items() for new, part in gte.rename_gte(name, tensor).items()}


def jina_config(card: ModelCard) -> PreTrainedConfig:
    """jina-reranker-v2: XLM-RoBERTa under other names (models.md 3.8)."""
    _expect(card, position_embedding_type="absolute")
    return XLMRobertaConfig(**_pick(card.config, (*ENCODER_KEYS, *KEEP)))


def minicpm_config(card: ModelCard) -> PreTrainedConfig:
    """BAAI's layerwise MiniCPM: Llama up to the cut-off layer, its scales folded into the weights by `minicpm_tensors`."""
    _expect(card, head_type="simple", head_multi=True, hidden_act="silu", rope_scaling=None)
    _without_window(card, card.config)
    return LlamaConfig(**_pick(card.config, (*LLAMA_KEYS, *KEEP)) | {"num_hidden_layers": cut_off(card), "tie_word_embeddings": False})


def _without_window(card: ModelCard, config: dict[str, Any]) -> None:
    """Llama sees everything: a key that says otherwise is refused."""
    if config.get("sliding_window"):
        raise UnsupportedModel(f"{card.name}: sliding_window is {config['sliding_window']!r} in config.json; only None is supported")


def cut_off(card: ModelCard) -> int:
    """The layer whose head is read: the last of `cutoff_layers` in config.json, or else the last there is."""
    last, first = int(card.config["num_hidden_layers"]), int(card.config["start_layer"])
    said = card.config.get("cutoff_layers") or last
    layer = int(max(said) if isinstance(said, list) else said)
    if not first <= layer <= last:
        raise UnsupportedModel(f"{card.name}: cutoff_layers is {said} in config.json; layers {first} to {last} have a head")
    return layer


def minicpm_tensors(card: ModelCard, folder: Path) -> dict[str, Tensor]:
    """Llama's tensors that compute what MiniCPM's do: embeddings times scale_emb, each block's output times scale_depth / sqrt(layers)."""
    depth = float(card.config["scale_depth"]) / float(card.config["num_hidden_layers"]) ** 0.5
    scales = {"embed_tokens.weight": float(card.config["scale_emb"]), "o_proj.weight": depth, "down_proj.weight": depth}
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors(folder).items():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        if name.startswith("lm_head.") or (layer and int(layer[1]) >= cut_off(card)):
            continue
        scale = next((scale for ending, scale in scales.items() if name.endswith(ending)), None)
        tensors[name.removeprefix("model.")] = tensor if scale is None else tensor.float() * scale
    return tensors


def jina_tensors(card: ModelCard, folder: Path) -> dict[str, Tensor]:
    """All of jina-reranker-v2's tensors under XLM-RoBERTa's names."""
    return {new: part for name, tensor in read_tensors(folder).items() for new, part in rename_jina(name, tensor).items()}


def rename_jina(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One jina tensor under XLM-RoBERTa's names; the fused query, key and value become three."""
    for pattern, new in JINA_NAMES:
        name = re.sub(pattern, new, name)
    if ".mixer.Wqkv." not in name:
        return {name: tensor}
    before, _, after = name.partition("mixer.Wqkv.")
    parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
    return {f"{before}attention.self.{part}.{after}": chunk.contiguous() for part, chunk in parts}


@dataclass(frozen=True, slots=True)
class Native:
    """One kind of foreign checkpoint: how its config.json is known, and what it is natively."""

    matches: Callable[[dict[str, Any]], bool]
    config: Callable[[ModelCard], PreTrainedConfig]
    tensors: Callable[[ModelCard, Path], dict[str, Tensor] | None] | None = None
    """None: transformers finds its way among the names by itself."""


NATIVES: tuple[Native, ...] = (
    Native(lambda config: config.get("model_type") == "llama_bidirec", llama_config),
    Native(lambda config: config.get("model_type") == "llama_nemotron_vl_rerank", llama_config, vision_language_tensors),
    Native(lambda config: config.get("model_type") in ("new", *(["gte"] if gte.MISSING else ())), gte_config, gte_tensors),
    Native(lambda config: "XLMRobertaFlashConfig" in str(config.get("auto_map")), jina_config, jina_tensors),
    Native(lambda config: "LayerWiseMiniCPMForCausalLM" in (config.get("architectures") or ()), minicpm_config, minicpm_tensors),
)


def native_config(card: ModelCard) -> PreTrainedConfig | None:
    """The native class's config for a checkpoint that names another; None when transformers reads config.json itself."""
    return next((native.config(card) for native in NATIVES if native.matches(card.config)), None)


def native_tensors(card: ModelCard, folder: Path) -> dict[str, Tensor] | None:
    """All tensors under the native class's names, for a checkpoint whose names transformers does not know; else None."""
    native = next((native for native in NATIVES if native.matches(card.config)), None)
    return None if native is None or native.tensors is None else native.tensors(card, folder)


def _pick(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: config[key] for key in keys if key in config}


def _expect(card: ModelCard, **expected: object) -> None:
    """Refuse a config whose key has another value than the native class computes with; an absent key is the default."""
    for key, value in expected.items():
        found = card.config.get(key, value)
        if found != value:
            raise UnsupportedModel(f"{card.name}: {key} is {found!r} in config.json; only {value!r} is supported")

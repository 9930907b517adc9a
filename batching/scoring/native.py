"""Checkpoints that were published with code of their own and are a class that transformers has: their configs, and tensors under new names.

The code is never run. A key that the native class can't honour is refused by name, since ignoring it would give wrong scores silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor
from transformers import LlamaConfig, PreTrainedConfig, XLMRobertaConfig

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard

KEEP = ("num_labels", "id2label", "label2id", "architectures", "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings")
LLAMA_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters",
    "attention_bias", "mlp_bias",
)  # fmt: skip
ROBERTA_KEYS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "max_position_embeddings",
    "type_vocab_size", "layer_norm_eps", "classifier_dropout",
)  # fmt: skip
GTE_KEYS = (
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


def native_config(card: ModelCard) -> PreTrainedConfig | None:
    """The native class's config for a checkpoint that names another; None when transformers reads config.json itself."""
    for matches, translate in TRANSLATIONS:
        if matches(card.config):
            return translate(card)
    return None


def llama_config(card: ModelCard) -> PreTrainedConfig:
    """nvidia's llama_bidirec: Llama, every layer seeing both sides (models.md 4.8); the vision model's language part likewise."""
    config = card.config.get("llm_config") or card.config
    return LlamaConfig(**_pick(config, LLAMA_KEYS), **_pick(card.config, KEEP), is_causal=False)


def gte_config(card: ModelCard) -> PreTrainedConfig:
    """Alibaba's "new" encoder as transformers' gte, its NTK rope written as the linear one it equals (models.md 3.6)."""
    config = card.config
    kind = getattr(transformers, "GteConfig", None)
    if kind is None:
        raise UnsupportedModel(f"{card.name}: transformers {transformers.__version__} has no class for gte; install a newer transformers")
    _expect(card, position_embedding_type="rope", layer_norm_type="layer_norm", logn_attention_scale=False)
    theta, scaling = float(config.get("rope_theta") or 10_000.0), config.get("rope_scaling")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if scaling is not None:
        if scaling.get("type") != "ntk":
            raise UnsupportedModel(f"{card.name}: rope_scaling is {scaling}; the type ntk is supported")
        factor = float(scaling["factor"])
        head = int(config["hidden_size"]) // int(config["num_attention_heads"])
        rope = {"rope_type": "linear", "rope_theta": theta * factor, "factor": factor ** (2.0 / head)}
    return kind(**_pick(config, (*GTE_KEYS, *KEEP)), rope_parameters=rope)


def jina_config(card: ModelCard) -> PreTrainedConfig:
    """jina-reranker-v2: XLM-RoBERTa under other names (models.md 3.8)."""
    _expect(card, position_embedding_type="absolute")
    return XLMRobertaConfig(**_pick(card.config, (*ROBERTA_KEYS, *KEEP)))


TRANSLATIONS: tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[ModelCard], PreTrainedConfig]], ...] = (
    (lambda config: config.get("model_type") in ("llama_bidirec", "llama_nemotron_vl_rerank"), llama_config),
    (lambda config: config.get("model_type") == "new", gte_config),
    (lambda config: "XLMRobertaFlashConfig" in str(config.get("auto_map")), jina_config),
)


def native_tensors(card: ModelCard, folder: Path) -> dict[str, Tensor] | None:
    """All tensors under the native class's names, for a checkpoint whose names transformers does not know; else None."""
    if "XLMRobertaFlashConfig" not in str(card.config.get("auto_map")):
        return None
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors(folder).items():
        tensors |= rename_jina(name, tensor)
    return tensors


def rename_jina(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One jina tensor under XLM-RoBERTa's names; the fused query, key and value become three."""
    for pattern, new in JINA_NAMES:
        name = re.sub(pattern, new, name)
    if ".mixer.Wqkv." not in name:
        return {name: tensor}
    before, _, after = name.partition("mixer.Wqkv.")
    parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
    return {f"{before}attention.self.{part}.{after}": chunk.contiguous() for part, chunk in parts}


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder's safetensors files."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    return tensors


def read_rows(folder: Path, name: str, rows: list[int] | None = None) -> Tensor | None:
    """The tensor called `name`, or those rows of it, in float32 [len(rows), ...]; None when no file holds it."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118  not a mapping
                part = file.get_slice(name)
                return torch.cat([part[row : row + 1] for row in rows]).float() if rows else part[:].float()
    return None


def _pick(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: config[key] for key in keys if key in config}


def _expect(card: ModelCard, **expected: object) -> None:
    """Refuse a config whose key has another value than the native class computes with; an absent key is the default."""
    for key, value in expected.items():
        found = card.config.get(key, value)
        if found != value:
            raise UnsupportedModel(f"{card.name}: {key} is {found!r} in config.json; only {value!r} is supported")

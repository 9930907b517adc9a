"""Tiny pair encoders of the later families: ModernBERT, gte-multilingual, jina-v2, DeBERTa-v3, ALBERT, DistilBERT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)

from tests.checkpoints.byte_level import modernbert_tokenizer
from tests.checkpoints.encoders import xlm_roberta
from tests.checkpoints.vocab import bert_tokenizer, deberta_tokenizer, xlm_roberta_tokenizer
from tests.checkpoints.weights import edit_json, save

GTE_THETA, GTE_FACTOR = 20_000.0, 8.0


def modernbert_config(vocab_size: int, **changes: Any) -> ModernBertConfig:
    """Four layers so that global and sliding ones alternate, with a window short enough to matter."""
    fields: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 8192,
        "local_attention": 16,
        "global_attn_every_n_layers": 3,
        "num_labels": 1,
        "pad_token_id": vocab_size - 2,
        "cls_token_id": vocab_size - 4,
        "sep_token_id": vocab_size - 3,
        "bos_token_id": vocab_size - 4,
        "eos_token_id": vocab_size - 3,
    }
    return ModernBertConfig(**(fields | changes))


def modernbert(directory: Path, *, seed: int = 0, pooling: str = "mean") -> Path:
    """The shape of Alibaba-NLP/gte-reranker-modernbert-base (`mean`) and granite's (`cls`)."""
    tokenizer = modernbert_tokenizer()
    config = modernbert_config(len(tokenizer), classifier_pooling=pooling)
    return save(directory, ModernBertForSequenceClassification(config), tokenizer, seed)


def gte(directory: Path, *, seed: int = 0, hidden: int = 32, heads: int = 4) -> Path:
    """The shape of a gte-multilingual-reranker-base converted to transformers' own class."""
    return save(directory, transformers.GteForSequenceClassification(_gte_config(hidden, heads)), xlm_roberta_tokenizer(8192), seed)


def gte_remote(directory: Path, *, seed: int = 0, hidden: int = 32, heads: int = 4) -> Path:
    """The same weights as `gte` with the prefix and the config of Alibaba-NLP/new-impl, as on the hub."""
    gte(directory, seed=seed, hidden=hidden, heads=heads)
    tensors = load_file(directory / "model.safetensors")
    renamed = {re.sub(r"^gte\.", "new.", name): tensor for name, tensor in tensors.items()}
    save_file(renamed, directory / "model.safetensors", metadata={"format": "pt"})
    edit_json(
        directory / "config.json",
        model_type="new",
        architectures=["NewForSequenceClassification"],
        auto_map={"AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig"},
        position_embedding_type="rope",
        rope_theta=GTE_THETA,
        rope_scaling={"type": "ntk", "factor": GTE_FACTOR},
        rope_parameters=...,
        layer_norm_type="layer_norm",
        logn_attention_scale=False,
        unpad_inputs=False,
        use_memory_efficient_attention=False,
    )
    return directory


def _gte_config(hidden: int, heads: int) -> transformers.PreTrainedConfig:
    factor = GTE_FACTOR ** (2 * heads / hidden)
    return transformers.GteConfig(
        vocab_size=len(xlm_roberta_tokenizer()),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=heads,
        intermediate_size=48,
        max_position_embeddings=8192,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
        num_labels=1,
        pad_token_id=1,
        rope_parameters={"rope_type": "linear", "rope_theta": GTE_THETA * GTE_FACTOR, "factor": factor},
    )


def jina_v2(directory: Path, *, seed: int = 0) -> Path:
    """The shape of jinaai/jina-reranker-v2-base-multilingual: XLM-RoBERTa under other names, no model_type, auto_map to code of its own."""
    xlm_roberta(directory, seed=seed, max_length=1024)
    tensors = load_file(directory / "model.safetensors")
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if ".self." not in name:
            renamed[_jina_name(name)] = tensor
    for layer in range(2):
        for end in ("weight", "bias"):
            parts = [tensors[f"roberta.encoder.layer.{layer}.attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            renamed[f"roberta.encoder.layers.{layer}.mixer.Wqkv.{end}"] = torch.cat(parts)
    save_file(renamed, directory / "model.safetensors", metadata={"format": "pt"})
    edit_json(
        directory / "config.json",
        model_type=...,
        position_embedding_type="absolute",
        auto_map={"AutoConfig": "configuration_xlm_roberta.XLMRobertaFlashConfig"},
    )
    return directory


def _jina_name(name: str) -> str:
    for old, new in (
        ("embeddings.LayerNorm.", "emb_ln."),
        ("encoder.layer.", "encoder.layers."),
        ("attention.output.dense.", "mixer.out_proj."),
        ("attention.output.LayerNorm.", "norm1."),
        ("intermediate.dense.", "mlp.fc1."),
        ("output.dense.", "mlp.fc2."),
        ("output.LayerNorm.", "norm2."),
    ):
        name = name.replace(old, new)
    return name


def deberta(directory: Path, *, seed: int = 0) -> Path:
    """The shape of mixedbread-ai/mxbai-rerank-*-v1: DeBERTa-v3 with relative attention in buckets and no absolute positions."""
    tokenizer = deberta_tokenizer()
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=512,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=16,
        max_relative_positions=-1,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        layer_norm_eps=1e-7,
        pooler_dropout=0,
        pooler_hidden_act="gelu",
        pooler_hidden_size=32,
        pad_token_id=0,
        num_labels=1,
    )
    return save(directory, DebertaV2ForSequenceClassification(config), tokenizer, seed)


def albert(directory: Path, *, seed: int = 0) -> Path:
    """A one-label ALBERT on BERT's tokenizer."""
    tokenizer = bert_tokenizer()
    config = AlbertConfig(
        vocab_size=len(tokenizer),
        embedding_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=512,
        num_labels=1,
    )
    return save(directory, AlbertForSequenceClassification(config), tokenizer, seed)


def distilbert(directory: Path, *, seed: int = 0) -> Path:
    """A one-label DistilBERT."""
    tokenizer = bert_tokenizer()
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=512, num_labels=1
    )
    return save(directory, DistilBertForSequenceClassification(config), tokenizer, seed)

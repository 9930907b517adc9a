"""Tiny pair encoders of the later families: ModernBERT, gte-multilingual, jina-v2, DeBERTa-v3, ALBERT, DistilBERT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
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
    """The shape of a gte-multilingual-reranker-base converted to transformers' own class, written without it: older releases lack it."""
    tokenizer = xlm_roberta_tokenizer(8192)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: _noise(name, shape, generator) for name, shape in _gte_shapes(len(tokenizer), hidden).items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    rope = {"rope_type": "linear", "rope_theta": GTE_THETA * GTE_FACTOR, "factor": GTE_FACTOR ** (2 * heads / hidden)}
    edit_json(
        directory / "config.json", architectures=["GteForSequenceClassification"], model_type="gte", vocab_size=len(tokenizer),
        hidden_size=hidden, num_hidden_layers=2, num_attention_heads=heads, intermediate_size=48, max_position_embeddings=8192,
        type_vocab_size=1, layer_norm_eps=1e-12, hidden_act="gelu", pad_token_id=1, id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0},
        rope_parameters=rope,
    )  # fmt: skip
    return directory


def _gte_shapes(vocabulary: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes as transformers saves them: the published ones, under the prefix `gte.`."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (vocabulary, hidden), "embeddings.token_type_embeddings.weight": (1, hidden),
        "embeddings.LayerNorm.weight": (hidden,), "embeddings.LayerNorm.bias": (hidden,),
        "pooler.dense.weight": (hidden, hidden), "pooler.dense.bias": (hidden,),
    }  # fmt: skip
    for layer in range(2):
        own: dict[str, tuple[int, ...]] = {
            "attention.qkv_proj.weight": (3 * hidden, hidden), "attention.qkv_proj.bias": (3 * hidden,),
            "attention.o_proj.weight": (hidden, hidden), "attention.o_proj.bias": (hidden,),
            "mlp.up_gate_proj.weight": (96, hidden), "mlp.down_proj.weight": (hidden, 48), "mlp.down_proj.bias": (hidden,),
            "attn_ln.weight": (hidden,), "attn_ln.bias": (hidden,), "mlp_ln.weight": (hidden,), "mlp_ln.bias": (hidden,),
        }  # fmt: skip
        shapes |= {f"encoder.layer.{layer}.{name}": shape for name, shape in own.items()}
    return {f"gte.{name}": shape for name, shape in shapes.items()} | {"classifier.weight": (1, hidden), "classifier.bias": (1,)}


def _noise(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """As `randomise` fills parameters."""
    noise = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return noise * (1.5 / shape[-1] ** 0.5)
    return 1.0 + 0.1 * noise if name.endswith(("_ln.weight", "LayerNorm.weight")) else 0.1 * noise


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

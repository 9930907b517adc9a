"""Tiny pair encoders and sentence encoders on disk: the real configuration and tokenizer classes, random weights."""

from __future__ import annotations

import json
from pathlib import Path

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ElectraConfig,
    ElectraForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from tests.checkpoints.vocab import bert_tokenizer, xlm_roberta_tokenizer
from tests.checkpoints.weights import edit_json, save

IDENTITY = "torch.nn.modules.linear.Identity"


def xlm_roberta(
    directory: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, heads: int = 4, labels: int = 1, max_length: int = 512
) -> Path:
    """The shape of BAAI/bge-reranker-*: `<s> q </s></s> d </s>`, positions from 2, dense-tanh-out_proj head."""
    tokenizer = xlm_roberta_tokenizer(max_length)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_length + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        num_labels=labels,
        pad_token_id=1,
    )
    return save(directory, XLMRobertaForSequenceClassification(config), tokenizer, seed)


def bert(
    directory: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, heads: int = 4, labels: int = 1, max_length: int = 512
) -> Path:
    """The shape of cross-encoder/ms-marco-MiniLM-*: token types, pooler, and the old key that says Identity."""
    tokenizer = bert_tokenizer(max_length)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=max_length,
        num_labels=labels,
    )
    save(directory, BertForSequenceClassification(config), tokenizer, seed)
    edit_json(directory / "config.json", sbert_ce_default_activation_function=IDENTITY)
    return directory


def electra(directory: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, heads: int = 4, embedding: int = 16) -> Path:
    """The shape of cross-encoder/ms-marco-electra-base, with an embedding narrower than the model so that its projection matters."""
    tokenizer = bert_tokenizer()
    config = ElectraConfig(
        vocab_size=len(tokenizer),
        embedding_size=embedding,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=512,
        num_labels=1,
    )
    save(directory, ElectraForSequenceClassification(config), tokenizer, seed)
    edit_json(directory / "config.json", sentence_transformers={"activation_fn": IDENTITY, "version": "5.0.0"})
    return directory


def bi_encoder(
    directory: Path,
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    heads: int = 4,
    pooling: str = "mean",
    normalize: bool = True,
    max_length: int = 128,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A sentence-transformers model: Transformer, Pooling (`mean`, `cls` or `lasttoken`), Normalize; cosine similarity."""
    tokenizer = bert_tokenizer(512)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden,
        max_position_embeddings=512,
    )
    save(directory, BertModel(config), tokenizer, seed)
    write_sentence_modules(directory, hidden, pooling=pooling, normalize=normalize, max_length=max_length, prompts=prompts)
    return directory


def write_sentence_modules(
    directory: Path, hidden: int, *, pooling: str, normalize: bool, max_length: int, prompts: dict[str, str] | None = None
) -> None:
    """Write the module folders and lists of a sentence-transformers model around a base model that is there already."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(modules)
    ]
    (directory / "modules.json").write_text(json.dumps(entries, indent=1), "utf-8")
    modes = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken", "max": "max_tokens"}
    flags = {f"pooling_mode_{mode}": name == pooling for name, mode in modes.items()}
    edit_json(directory / "1_Pooling" / "config.json", word_embedding_dimension=hidden, **flags)
    if normalize:
        (directory / "2_Normalize").mkdir()
    edit_json(directory / "sentence_bert_config.json", max_seq_length=max_length, do_lower_case=False)
    edit_json(directory / "config_sentence_transformers.json", prompts=prompts or {}, default_prompt_name=None, similarity_fn_name="cosine")

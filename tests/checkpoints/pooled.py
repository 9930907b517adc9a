"""Tiny checkpoints of models that are more than one transformers class: ettin's chain of modules, ColBERT with its projection."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, ModernBertModel, Qwen2Config, Qwen2Model

from tests.checkpoints.byte_level import modernbert_tokenizer, qwen_tokenizer
from tests.checkpoints.decoders import SHAPE
from tests.checkpoints.encoders import write_sentence_modules
from tests.checkpoints.more_encoders import modernbert_config
from tests.checkpoints.vocab import bert_tokenizer
from tests.checkpoints.weights import edit_json, save


def ettin(directory: Path, *, seed: int = 0, hidden: int = 32) -> Path:
    """The shape of cross-encoder/ettin-reranker-*: an encoder, cls pooling, Dense with GELU, LayerNorm, Dense to one number."""
    tokenizer = modernbert_tokenizer()
    save(directory, ModernBertModel(modernbert_config(len(tokenizer), hidden_size=hidden)), tokenizer, seed)
    kinds = [
        ("", "sentence_transformers.base.modules.transformer.Transformer"),
        ("1_Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"),
        ("2_Dense", "sentence_transformers.base.modules.dense.Dense"),
        ("3_LayerNorm", "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm"),
        ("4_Dense", "sentence_transformers.base.modules.dense.Dense"),
    ]
    entries = [{"idx": number, "name": str(number), "path": path, "type": kind} for number, (path, kind) in enumerate(kinds)]
    (directory / "modules.json").write_text(json.dumps(entries, indent=1), "utf-8")
    identity = "torch.nn.modules.linear.Identity"
    edit_json(directory / "1_Pooling" / "config.json", embedding_dimension=hidden, pooling_mode="cls", include_prompt=True)
    dense = {"in_features": hidden, "bias": True, "module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
    gelu = "torch.nn.modules.activation.GELU"
    edit_json(directory / "2_Dense" / "config.json", **dense, out_features=hidden, activation_function=gelu)
    edit_json(directory / "3_LayerNorm" / "config.json", dimension=hidden)
    edit_json(
        directory / "4_Dense" / "config.json", **(dense | {"module_output_name": "scores"}), out_features=1, activation_function=identity
    )
    edit_json(directory / "config_sentence_transformers.json", model_type="CrossEncoder", activation_fn=identity, prompts={})
    edit_json(
        directory / "sentence_bert_config.json",
        transformer_task="feature-extraction",
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
        max_seq_length=7999,
    )
    generator = torch.Generator().manual_seed(seed + 1)
    linear = {"linear.weight": (hidden, hidden), "linear.bias": (hidden,)}
    shapes = {
        "2_Dense": linear,
        "3_LayerNorm": {"norm.weight": (hidden,), "norm.bias": (hidden,)},
        "4_Dense": {"linear.weight": (1, hidden), "linear.bias": (1,)},
    }
    for folder, tensors in shapes.items():
        save_file(
            {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in tensors.items()},
            directory / folder / "model.safetensors",
        )
    return directory


def bert_chain(directory: Path, *, seed: int = 0) -> Path:
    """As `ettin`, around a BERT, whose tokenizer gives token types."""
    ettin(directory, seed=seed)
    for name in ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink(missing_ok=True)
    return _bare_bert(directory, seed)


def _bare_bert(directory: Path, seed: int) -> Path:
    """A BERT without a head, and its tokenizer."""
    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=512,
    )
    return save(directory, BertModel(config), tokenizer, seed)


def decoder_bi_encoder(directory: Path, *, seed: int = 0) -> Path:
    """The shape of Alibaba-NLP/gte-Qwen2-*-instruct: a sentence encoder over a decoder, which reads the last token."""
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(**SHAPE, vocab_size=len(tokenizer), max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id)
    save(directory, Qwen2Model(config), tokenizer, seed)
    write_sentence_modules(directory, 32, pooling="lasttoken", normalize=True, max_length=128)
    return directory


def colbert(directory: Path, *, seed: int = 0, dimension: int = 16, attend: bool = False) -> Path:
    """The shape of colbert-ir/colbertv2.0: BERT, `linear.weight`, artifact.metadata with its markers `[unused0]` and `[unused1]`."""
    _bare_bert(directory, seed)
    tensors = {f"bert.{name}": tensor for name, tensor in load_file(directory / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(seed + 1)
    tensors["linear.weight"] = torch.randn((dimension, 32), generator=generator) * 0.3
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    edit_json(directory / "config.json", architectures=["HF_ColBERT"])
    edit_json(
        directory / "artifact.metadata",
        query_token_id="[unused0]",
        doc_token_id="[unused1]",
        query_token="[Q]",
        doc_token="[D]",
        query_maxlen=32,
        doc_maxlen=180,
        dim=dimension,
        similarity="cosine",
        mask_punctuation=True,
        attend_to_mask_tokens=attend,
    )
    return directory


def modern_colbert(directory: Path, *, seed: int = 0, dimension: int = 16, window: int = 64, **words: object) -> Path:
    """The shape of lightonai/GTE-ModernColBERT-v1 as PyLate leaves it: ModernBERT, a Dense, `[Q] ` and `[D] ` added to the tokenizer."""
    tokenizer = modernbert_tokenizer(extra=("[Q] ", "[D] "))
    config = modernbert_config(len(tokenizer), local_attention=window)
    save(directory, ModernBertModel(config), tokenizer, seed)
    kinds = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    entries = [{"idx": number, "name": str(number), "path": path, "type": kind} for number, (path, kind) in enumerate(kinds)]
    (directory / "modules.json").write_text(json.dumps(entries, indent=1), "utf-8")
    edit_json(directory / "1_Dense" / "config.json", in_features=32, out_features=dimension, bias=False,
              activation_function="torch.nn.modules.linear.Identity")  # fmt: skip
    weight = torch.randn((dimension, 32), generator=torch.Generator().manual_seed(seed + 1)) * 0.3
    save_file({"linear.weight": weight}, directory / "1_Dense" / "model.safetensors")
    edit_json(directory / "sentence_bert_config.json", max_seq_length=299, do_lower_case=False)
    said = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 32, "document_length": 300,
            "attend_to_expansion_tokens": False, "similarity_fn_name": "MaxSim", "prompts": {}}  # fmt: skip
    edit_json(directory / "config_sentence_transformers.json", **(said | words))
    return directory

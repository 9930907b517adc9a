"""Tiny language models that are asked for a score: Qwen3-Reranker, mxbai-v2, bge-gemma, zerank, ctxl, nemotron, jina-v3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    Qwen3Model,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from tests.checkpoints.byte_level import gemma_tokenizer, llama_tokenizer, qwen_tokenizer
from tests.checkpoints.weights import edit_json, randomise, save

JINA_MARKERS = ("<|embed_token|>", "<|rerank_token|>")
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}


def qwen3_config(tokenizer: PreTrainedTokenizerBase, **changes: Any) -> Qwen3Config:
    """Grouped heads of a width that is not hidden / heads, as in all Qwen3."""
    fields = SHAPE | {"vocab_size": len(tokenizer) + 5, "head_dim": 16, "max_position_embeddings": 40_960, "rope_theta": 1e6}
    fields |= {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    return Qwen3Config(**(fields | changes))


def qwen3(directory: Path, *, seed: int = 0, tied: bool = True) -> Path:
    """The shape of Qwen/Qwen3-Reranker-0.6B (tied) and -8B (a head of its own), as first released. Named by its directory or a recipe."""
    tokenizer = qwen_tokenizer()
    return save(directory, Qwen3ForCausalLM(qwen3_config(tokenizer, tie_word_embeddings=tied)), tokenizer, seed)


def qwen3_classifier(directory: Path, *, seed: int = 0) -> Path:
    """The shape of tomaarsen/Qwen3-Reranker-*-seq-cls, made from `qwen3` of the same seed: score.weight is its yes row less its no row."""
    tokenizer = qwen_tokenizer()
    source = Qwen3ForCausalLM(qwen3_config(tokenizer))
    save(directory, source, tokenizer, seed)
    model = Qwen3ForSequenceClassification(qwen3_config(tokenizer, num_labels=1))
    model.model.load_state_dict(source.model.state_dict())
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    with torch.no_grad():
        model.score.weight.copy_((source.lm_head.weight[yes] - source.lm_head.weight[no]).unsqueeze(0))
    model.save_pretrained(directory)
    return directory


def mxbai_v2(directory: Path, *, seed: int = 0) -> Path:
    """The shape of mixedbread-ai/mxbai-rerank-large-v2. Named by its directory or a recipe."""
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(**SHAPE, vocab_size=len(tokenizer), max_position_embeddings=32_768, tie_word_embeddings=True)
    return save(directory, Qwen2ForCausalLM(config), tokenizer, seed)


def mxbai_labels(directory: Path, *, seed: int = 0) -> Path:
    """The shape of michaelfeil/mxbai-rerank-*-v2-seq: a classifier that keeps both verdicts, as labels called "0" and "1"."""
    tokenizer = qwen_tokenizer()
    config = Qwen2Config(**SHAPE, vocab_size=len(tokenizer), max_position_embeddings=32_768, pad_token_id=tokenizer.pad_token_id,
                         id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1})  # fmt: skip
    return save(directory, Qwen2ForSequenceClassification(config), tokenizer, seed)


def bge_gemma(directory: Path, *, seed: int = 0) -> Path:
    """The shape of BAAI/bge-reranker-v2-gemma: one key head, scaled embeddings. Named by its directory or a recipe."""
    tokenizer = gemma_tokenizer()
    fields = SHAPE | {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": len(tokenizer), "max_position_embeddings": 8192}
    config = GemmaConfig(**fields, pad_token_id=0, eos_token_id=1, bos_token_id=2, hidden_act="gelu_pytorch_tanh")
    return save(directory, GemmaForCausalLM(config), tokenizer, seed)


def zerank(directory: Path, *, seed: int = 0) -> Path:
    """The shape of zeroentropy/zerank-2. Named by its directory or a recipe."""
    return qwen3(directory, seed=seed)


def ctxl(directory: Path, *, seed: int = 0) -> Path:
    """The shape of ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b. Named by its directory or a recipe."""
    return qwen3(directory, seed=seed, tied=False)


def nemotron(directory: Path, *, seed: int = 0, tokenizer: PreTrainedTokenizerBase | None = None) -> Path:
    """The shape of nvidia/llama-nemotron-rerank-1b-v2: Llama 3.2 with scaled rope, its model_type and class of the published code."""
    tokenizer = tokenizer or llama_tokenizer()
    rope = {"rope_type": "llama3", "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64}
    config = LlamaConfig(
        **SHAPE,
        head_dim=8,
        vocab_size=len(tokenizer),
        max_position_embeddings=131_072,
        rope_parameters={**rope, "rope_theta": 500_000.0},
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    save(directory, LlamaForSequenceClassification(config), tokenizer, seed)
    edit_json(
        directory / "config.json",
        model_type="llama_bidirec",
        architectures=["LlamaBidirectionalForSequenceClassification"],
        auto_map={"AutoModelForSequenceClassification": "llama_bidirectional_model.LlamaBidirectionalForSequenceClassification"},
        pooling="avg",
        temperature=1.0,
        rope_parameters=...,
        rope_theta=500_000.0,
        rope_scaling=rope,
    )
    return directory


def jina_v3(directory: Path, *, seed: int = 0) -> Path:
    """The shape of jinaai/jina-reranker-v3: Qwen3 with two marker tokens and a projector of two linears."""
    tokenizer = qwen_tokenizer(extra=JINA_MARKERS)
    save(directory, Qwen3Model(qwen3_config(tokenizer)), tokenizer, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    tensors = {f"model.{name}": tensor for name, tensor in load_file(directory / "model.safetensors").items()}
    tensors["projector.0.weight"] = torch.randn((16, 32), generator=generator) * 0.3
    tensors["projector.2.weight"] = torch.randn((16, 16), generator=generator) * 0.3
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    edit_json(directory / "config.json", architectures=["JinaForRanking"], auto_map={"AutoModel": "modeling.JinaForRanking"})
    return directory


QWEN3_CHAT = (
    '{%- set said = namespace(system="Given a web search query, retrieve relevant passages that answer the query", query="", document="") -%}'
    "{%- for message in messages -%}"
    '{%- if message.role == "system" -%}{%- set said.system = message.content -%}{%- endif -%}'
    '{%- if message.role == "query" -%}{%- set said.query = message.content -%}{%- endif -%}'
    '{%- if message.role == "document" -%}{%- set said.document = message.content -%}{%- endif -%}'
    "{%- endfor -%}"
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {{ said.system }}\n<Query>: {{ said.query }}\n<Document>: {{ said.document }}<|im_end|>\n<|im_start|>assistant\n"
    r'{{ "<think>\n\n</think>\n\n" }}'
)


def qwen3_logit_score(directory: Path, *, seed: int = 0) -> Path:
    """Qwen/Qwen3-Reranker-* as sentence-transformers reads it since 2026: a LogitScore module and a chat template for query and document."""
    qwen3(directory, seed=seed)
    tokenizer = qwen_tokenizer()
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    kinds = [("", "base.modules.transformer.Transformer"), ("1_LogitScore", "cross_encoder.modules.logit_score.LogitScore")]
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(entries, indent=1), "utf-8")
    (directory / "chat_template.jinja").write_text(QWEN3_CHAT, "utf-8")
    edit_json(directory / "1_LogitScore" / "config.json", true_token_id=yes, false_token_id=no)
    edit_json(directory / "config_sentence_transformers.json", model_type="CrossEncoder", prompts={})
    edit_json(
        directory / "sentence_bert_config.json",
        transformer_task="text-generation",
        modality_config={
            "text": {"method": "forward", "method_output_name": "logits"},
            "message": {"method": "forward", "method_output_name": "logits", "format": "flat"},
        },
        module_output_name="causal_logits",
    )
    return directory


IMAGE_TOKENS = ("<img>", "<IMG_CONTEXT>", "</img>")
IMAGE_SIDE = 32


def nemotron_vl(directory: Path, *, seed: int = 0) -> Path:
    """The shape of nvidia/llama-nemotron-rerank-vl-1b-v2: config nested, names prefixed, SigLIP with its unread head, and the projector."""
    nemotron(directory, seed=seed, tokenizer=llama_tokenizer(10_240, IMAGE_TOKENS))
    tensors = load_file(directory / "model.safetensors")
    renamed = {
        name if name.startswith("score.") else f"model.language_model.{name.removeprefix('model.')}": tensor
        for name, tensor in tensors.items()
    }
    vision = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIDE,
        patch_size=4,
        num_channels=3,
    )
    tower = SiglipVisionModel(vision)
    projector = torch.nn.Sequential(torch.nn.LayerNorm(64), torch.nn.Linear(64, 32), torch.nn.GELU(), torch.nn.Linear(32, 32))
    for number, (prefix, module) in enumerate((("model.vision_model.vision_model.", tower), ("model.mlp1.", projector)), 1):
        randomise(module, seed + number)
        renamed |= {f"{prefix}{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(renamed, directory / "model.safetensors", metadata={"format": "pt"})
    inner = json.loads((directory / "config.json").read_text("utf-8"))
    outer = {key: inner.pop(key) for key in ("architectures", "auto_map", "pooling", "temperature", "id2label", "label2id")}
    outer |= {
        "architectures": ["LlamaNemotronVLForSequenceClassification"],
        "model_type": "llama_nemotron_vl_rerank",
        "llm_config": inner,
        "vision_config": {**vision.to_diff_dict(), "model_type": "siglip_vision_model"},
        "downsample_ratio": 0.5,
        "force_image_size": IMAGE_SIDE,
        "select_layer": -1,
        "img_context_token_id": llama_tokenizer(10_240, IMAGE_TOKENS).convert_tokens_to_ids("<IMG_CONTEXT>"),
        "dynamic_image_size": True,
        "use_thumbnail": True,
        "max_input_tiles": 4,
        "prompt_template": "v1",
        "torch_dtype": "float32",
    }
    (directory / "config.json").write_text(json.dumps(outer, indent=1), "utf-8")
    return directory

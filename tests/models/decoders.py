"""References for prompted decoders: the plain Hugging Face language model on left-padded prompts, eager attention, logits at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3Model,
)

from tests.models import prompts
from tests.models.prompts import Prompt, Rows
from tests.models.references import Raw


def left_padded(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """ids, attention mask, positions, [N, longest] each."""
    longest = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, longest - len(row) :] = torch.tensor(row)
        mask[number, longest - len(row) :] = 1
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def tokenizer_of(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the class that its own files name, whatever the model's config.json says."""
    name = json.loads((directory / "tokenizer_config.json").read_text("utf-8"))["tokenizer_class"]
    return getattr(transformers, name).from_pretrained(directory)


def rows_of(directory: Path, prompt: Prompt, query: str, documents: Sequence[str]) -> Rows:
    """The prompts' ids."""
    return prompt(tokenizer_of(directory), query, documents)


def verdict(directory: Path, query: str, documents: Sequence[str], *, prompt: Prompt, yes: str | int, no: str | None = None) -> Raw:
    """logit(yes) - logit(no), or logit(yes), of a causal language model; a word stands for its first token, a number for itself."""
    tokenizer = tokenizer_of(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    ids, mask, positions = left_padded(prompt(tokenizer, query, documents))
    with torch.inference_mode():
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1].float()
    first, second = (
        None if word is None else word if isinstance(word, int) else tokenizer.convert_tokens_to_ids(word) for word in (yes, no)
    )
    return (logits[:, first] - (0.0 if second is None else logits[:, second])).numpy()


def classified(directory: Path, query: str, documents: Sequence[str], *, prompt: Prompt) -> Raw:
    """The one logit of a decoder's *ForSequenceClassification, or its second less its first, document by document, without padding."""
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    rows = rows_of(directory, prompt, query, documents)
    with torch.inference_mode():
        logits = torch.cat([model(input_ids=torch.tensor([row])).logits for row in rows])
        return (logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0.0)).numpy()


def nemotron(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """nvidia's published forward: Llama seeing both sides, mean over real tokens, score over temperature."""
    raw, tensors = json.loads((directory / "config.json").read_text("utf-8")), load_file(directory / "model.safetensors")
    text = raw.get("llm_config", raw)
    fields = {key: value for key, value in text.items() if key not in ("model_type", "architectures", "auto_map")}
    model = LlamaModel(LlamaConfig(**fields, attn_implementation="eager", is_causal=False)).eval()
    prefix = next(name for name in tensors if name.endswith("embed_tokens.weight")).removesuffix("embed_tokens.weight")
    own = {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}
    model.load_state_dict(own)
    ids, mask, positions = left_padded(rows_of(directory, prompts.nemotron, query, documents))
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return (pooled @ tensors["score.weight"].float().T / raw.get("temperature", 1.0))[:, 0].numpy()


def jina_v3(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """JinaForRanking's published forward on one prompt."""
    tokenizer, tensors = tokenizer_of(directory), load_file(directory / "model.safetensors")
    config = Qwen3Config.from_pretrained(directory, attn_implementation="eager")
    model = Qwen3Model(config).eval()
    model.load_state_dict({name.removeprefix("model."): tensor.float() for name, tensor in tensors.items() if name.startswith("model.")})
    (row,) = prompts.jina_v3(tokenizer, query, documents)
    document, asked = (tokenizer.convert_tokens_to_ids(token) for token in ("<|embed_token|>", "<|rerank_token|>"))
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([row])).last_hidden_state[0]
        vectors = torch.relu(hidden @ tensors["projector.0.weight"].float().T) @ tensors["projector.2.weight"].float().T
        places = torch.tensor(row)
        return functional.cosine_similarity(vectors[places == document], vectors[places == asked][-1:], dim=-1).numpy()


def layerwise(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """FlagEmbedding's modeling_minicpm_reranker.py, written out: scaled embeddings and residuals, the last layer's own linear head."""
    config, tensors = json.loads((directory / "config.json").read_text("utf-8")), load_file(directory / "model.safetensors")
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    last = config.get("cutoff_layers") or config["num_hidden_layers"]
    last = max(last) if isinstance(last, list) else last
    scores = []
    for row in rows_of(directory, prompts.bge, query, documents):
        states = tensors["model.embed_tokens.weight"][torch.tensor(row)] * config["scale_emb"]
        for layer in range(last):
            states = _minicpm_layer(states, tensors, f"model.layers.{layer}.", config)
        final = _rms(states, tensors["model.norm.weight"], config)[-1]
        scores.append(float(tensors[f"lm_head.{last - config['start_layer']}.linear_head.weight"][0] @ final))
    return torch.tensor(scores).numpy()


def _rms(states: Tensor, weight: Tensor, config: dict[str, Any]) -> Tensor:
    return weight * states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"])


def _minicpm_layer(states: Tensor, tensors: dict[str, Tensor], name: str, config: dict[str, Any]) -> Tensor:
    """One decoder layer over one sequence [T, H]."""
    depth = config["scale_depth"] / math.sqrt(config["num_hidden_layers"])
    heads, size = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
    x = _rms(states, tensors[f"{name}input_layernorm.weight"], config)
    q, k, v = ((x @ tensors[f"{name}self_attn.{part}_proj.weight"].T).view(len(x), -1, size).transpose(0, 1) for part in "qkv")
    angles = torch.outer(
        torch.arange(len(x)).float(), 1.0 / config.get("rope_theta", 10_000.0) ** (torch.arange(0, size, 2) / size)
    ).repeat(1, 2)
    q, k = (part * angles.cos() + torch.cat([-part[..., size // 2 :], part[..., : size // 2]], -1) * angles.sin() for part in (q, k))
    k, v = (part.repeat_interleave(heads // part.shape[0], 0) for part in (k, v))
    logits = (q @ k.transpose(1, 2) / math.sqrt(size)).masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), float("-inf"))
    attended = (logits.softmax(-1) @ v).transpose(0, 1).flatten(1)
    states = states + attended @ tensors[f"{name}self_attn.o_proj.weight"].T * depth
    x = _rms(states, tensors[f"{name}post_attention_layernorm.weight"], config)
    gated = functional.silu(x @ tensors[f"{name}mlp.gate_proj.weight"].T) * (x @ tensors[f"{name}mlp.up_proj.weight"].T)
    return states + gated @ tensors[f"{name}mlp.down_proj.weight"].T * depth

"""A tiny bge-reranker-v2-minicpm-layerwise: MiniCPM's scales, a linear head per layer from `start_layer` on, code of its own in auto_map."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.checkpoints.byte_level import gemma_tokenizer

CONFIG = {
    "architectures": ["LayerWiseMiniCPMForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_minicpm_reranker.LayerWiseMiniCPMForCausalLM"},
    "model_type": "minicpm",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "rope_scaling": None,
    "scale_emb": 12,
    "scale_depth": 1.4,
    "dim_model_base": 8,
    "start_layer": 2,
    "head_type": "simple",
    "head_multi": True,
    "bos_token_id": 2,
    "eos_token_id": 1,
}


def make(directory: Path, *, seed: int = 0, cutoff: int | None = 3) -> Path:
    """Write the checkpoint; `cutoff` is the layer whose head is read."""
    tokenizer = gemma_tokenizer(2048)
    directory.mkdir(parents=True)
    tokenizer.save_pretrained(directory)
    config = CONFIG | {"vocab_size": len(tokenizer)} | ({} if cutoff is None else {"cutoff_layers": [cutoff]})
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * (1.5 / shape[-1] ** 0.5)

    tensors = {"model.embed_tokens.weight": noise(len(tokenizer), 32), "model.norm.weight": 1 + 0.1 * noise(32)}
    for layer in range(4):
        name = f"model.layers.{layer}."
        tensors |= {f"{name}self_attn.{part}_proj.weight": noise(32, 32) for part in "qkvo"}
        tensors |= {f"{name}mlp.{part}_proj.weight": noise(48, 32) for part in ("gate", "up")}
        tensors[f"{name}mlp.down_proj.weight"] = noise(32, 48)
        tensors |= {f"{name}{norm}_layernorm.weight": 1 + 0.1 * noise(32) for norm in ("input", "post_attention")}
    tensors |= {f"lm_head.{number}.linear_head.weight": noise(1, 32) for number in range(3)}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory

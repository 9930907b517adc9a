"""Random weights that make every part of a model matter: biases and norms too, at a size that gives scores a spread of about one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Fill every parameter from `seed`: matrices by their fan-in, norm weights around one, the rest around zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(1.0 + 0.1 * noise)
            elif parameter.dim() < 2:
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(noise * (1.5 / parameter.shape[-1] ** 0.5))


def save(directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> Path:
    """Randomise, then write config.json, model.safetensors and the tokenizer's files; gives the directory."""
    randomise(model, seed)
    directory.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def edit_json(path: Path, **changes: object) -> None:
    """Set keys of a JSON file (made when it is not there); a value of `...` removes the key."""
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    content.update(changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}, indent=1), "utf-8")

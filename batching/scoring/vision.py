"""The vision part of nvidia/llama-nemotron-rerank-vl-1b-v2: tiles of pixels in, one row per image token out.

SigLIP's own class from transformers, two by two patches put into one row, then a small MLP into the language model's width (models.md 4.9).
Pixels are scaled as the published processor does it, its rounding to bfloat16 included.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, SiglipVisionConfig, SiglipVisionModel

from batching.errors import UnsupportedModel
from batching.families.base import Pictures
from batching.families.card import ModelCard
from batching.scoring.checkpoint import first_line, folder, load_model, named
from batching.scoring.tensors import read_tensors

TOWER = re.compile(r"^(model\.)?vision_model\.(vision_model\.)?")
PROJECTOR = re.compile(r"^(model\.)?mlp1\.")
KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size", "patch_size",
    "hidden_act", "layer_norm_eps",
)  # fmt: skip
"""Of vision_config, what the computation depends on."""
UNREAD = "head."
"""SigLIP's own pooling, which nothing here reads."""
AT_ONCE = 16
"""Tiles that the tower sees together: enough to fill a device, few enough for its memory."""


class Vision(nn.Module):
    """`forward`: tiles uint8 [K, side * side * 3] to rows [K * tokens, H] in the body's number type."""

    def __init__(self, tower: PreTrainedModel, projector: nn.Sequential, pictures: Pictures) -> None:
        super().__init__()
        self.tower, self.projector, self._side = tower, projector, pictures.side

    def forward(self, tiles: Tensor) -> Tensor:
        """See the class."""
        rows = [self._rows(part) for part in tiles.split(AT_ONCE)]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _rows(self, tiles: Tensor) -> Tensor:
        pixels = tiles.view(-1, self._side, self._side, 3).permute(0, 3, 1, 2).float() / 255
        pixels = ((pixels - 0.5) / 0.5).bfloat16()
        patches: Tensor = self.tower(pixel_values=pixels.to(self.tower.dtype)).last_hidden_state
        projected: Tensor = self.projector(two_by_two(patches))
        return projected.flatten(0, 1)


def two_by_two(patches: Tensor) -> Tensor:
    """Patches [K, S * S, C], row by row, as [K, S * S / 4, 4 * C]: each square of four in one row, its upper two first."""
    count, size, width = patches.shape
    side = round(size**0.5)
    squares = patches.view(count, side // 2, 2, side // 2, 2, width).permute(0, 1, 3, 2, 4, 5)
    return squares.reshape(count, size // 4, 4 * width)


def load_vision(card: ModelCard, pictures: Pictures, hidden: int, dtype: torch.dtype) -> Vision:
    """The vision part of `card`'s checkpoint on the CPU; `hidden`: the language model's width. Raises UnsupportedModel."""
    said: dict[str, Any] = card.config["vision_config"]
    config = SiglipVisionConfig(**{key: said[key] for key in KEYS if key in said}, vision_use_head=False)
    tower = load_model(card, SiglipVisionModel, config, dtype, tensors=part(folder(card), TOWER))
    width = 4 * config.hidden_size
    projector = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)).to(dtype)
    fill(card, projector, part(folder(card), PROJECTOR))
    return Vision(tower, projector.eval(), pictures)


def part(directory: Path, prefix: re.Pattern[str]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it, and without what is not read."""
    found = {prefix.sub("", name): tensor for name, tensor in read_tensors(directory, prefix).items()}
    return {name: tensor for name, tensor in found.items() if not name.startswith(UNREAD)}


def fill(card: ModelCard, module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load exactly `tensors` into `module`; raises UnsupportedModel and names what does not fit."""
    apart = sorted(f"mlp1.{name}" for name in set(module.state_dict()) ^ set(tensors))
    if apart:
        raise UnsupportedModel(f"{card.name}: {named(apart)} is missing from its weights, or should not be among them")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UnsupportedModel(f"{card.name}: mlp1 has another shape than config.json says: {first_line(error)}") from error

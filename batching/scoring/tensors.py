"""Single tensors out of a folder of safetensors files, for heads and for checkpoints under other names."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from batching.families.checkpoint import weight_files


def read_tensors(folder: Path, prefix: re.Pattern[str] | None = None) -> dict[str, Tensor]:
    """Every tensor of the folder's weights, or those whose names begin with `prefix`."""
    tensors: dict[str, Tensor] = {}
    for part in weight_files(folder):
        with safe_open(folder / part, framework="pt") as file:
            names = [name for name in file.keys() if prefix is None or prefix.match(name)]  # noqa: SIM118  not a mapping
            tensors |= {name: file.get_tensor(name) for name in names}
    return tensors


def read_rows(folder: Path, name: str, rows: list[int] | None = None) -> Tensor | None:
    """The tensor called `name`, or those rows of it, in float32 [len(rows), ...]; None when no file holds it."""
    for part in weight_files(folder):
        with safe_open(folder / part, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118  not a mapping
                tensor = file.get_slice(name)
                return torch.cat([tensor[row : row + 1] for row in rows]).float() if rows else tensor[:].float()
    return None

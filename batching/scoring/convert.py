"""`python -m batching.scoring.convert DIRECTORY`: pickled weights (.bin) to safetensors, in a process of its own.

Pickles are read with `weights_only=True`: tensors and plain containers, nothing that runs. Anything else in them is refused.
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

REFUSED = 3
"""The exit code for weights that hold more than tensors."""


def convert(directory: Path) -> list[str]:
    """Write a safetensors file beside every pytorch_model*.bin, and an index where there is one; return their names.

    Raises pickle.UnpicklingError or ValueError for a file that holds anything but tensors by name.
    """
    made, total = [], 0
    places: dict[str, str] = {}
    for source in sorted(directory.glob("pytorch_model*.bin")):
        target = source.with_name(source.name.replace("pytorch_model", "model", 1)).with_suffix(".safetensors")
        tensors = read(source)
        part = target.with_name(target.name + ".part")
        save_file(tensors, part, metadata={"format": "pt"})
        part.replace(target)
        made.append(target.name)
        places |= dict.fromkeys(tensors, target.name)
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(made) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
        made.append("model.safetensors.index.json")
    return made


def read(path: Path) -> dict[str, torch.Tensor]:
    """A pickled state dict's tensors, each with memory of its own. Raises pickle.UnpicklingError or ValueError."""
    found = torch.load(path, map_location="cpu", weights_only=True)
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(one, torch.Tensor) and isinstance(name, str) for name, one in found.items())
    ):
        raise ValueError("it is no table of tensors by name")
    return {name: tensor.detach().contiguous().clone() for name, tensor in found.items()}


def main(directory: str) -> int:
    """Convert, and print the files made."""
    try:
        made = convert(Path(directory))
    except (pickle.UnpicklingError, ValueError, RuntimeError, EOFError) as error:
        sys.stderr.write(str(error).strip().partition("\n")[0] + "\n")
        return REFUSED
    sys.stdout.write(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

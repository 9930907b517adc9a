"""The small modules that sentence-transformers puts behind its pooling: Dense and LayerNorm, read from their own folders, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import load_file
from torch import Tensor, nn

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard
from batching.families.checkpoint import read_json
from batching.scoring.tensors import read_rows

ACTIVATIONS: dict[str, type[nn.Module]] = {"Identity": nn.Identity, "Tanh": nn.Tanh, "GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}


class Dense(nn.Module):
    """sentence-transformers' Dense: linear, activation (Tanh where its file names none), perhaps a residual."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
        name = str(config.get("activation_function", "Tanh") or "Identity").rsplit(".", 1)[-1]
        if name not in ACTIVATIONS:
            raise UnsupportedModel(f"a Dense module with the activation {name} is not known; known: {', '.join(sorted(ACTIVATIONS))}")
        self.activation = ACTIVATIONS[name]()
        self.use_residual = bool(config.get("use_residual"))
        if self.use_residual and config["in_features"] != config["out_features"]:
            self.residual = nn.Linear(config["in_features"], config["out_features"], bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N, in] to [N, out]."""
        out: Tensor = self.activation(self.linear(rows))
        if not self.use_residual:
            return out
        return out + (self.residual(rows) if hasattr(self, "residual") else rows)


class Norm(nn.Module):
    """sentence-transformers' LayerNorm."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config["dimension"])

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N, H] to [N, H]."""
        out: Tensor = self.norm(rows)
        return out


class Normalize(nn.Module):
    """Unit length."""

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N, H] to [N, H]."""
        return nn.functional.normalize(rows, dim=-1)


class First(nn.Module):
    """The first numbers of a row: embeddings cut to fewer dimensions."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N, H] to [N, size]."""
        return rows[:, : self.size]


def read_module(folder: Path, kind: str) -> nn.Module:
    """One module from its folder; raises UnsupportedModel for a kind, a key or a file that is not known."""
    if kind == "Normalize":
        return Normalize()
    config = msgspec.json.decode((folder / "config.json").read_bytes())
    module = Dense(config) if kind == "Dense" else Norm(config)
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise UnsupportedModel(f"{folder}: model.safetensors is missing; only safetensors weights are read")
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()}, strict=True)
    except RuntimeError as error:
        raise UnsupportedModel(f"{folder}: {' '.join(str(error).split())}") from error
    return module


def read_chain(card: ModelCard) -> nn.Module | None:
    """All modules behind the pooling, in order; None when there are none."""
    kinds = [kind for kind, _ in card.modules]
    behind = card.modules[kinds.index("Pooling") + 1 :] if "Pooling" in kinds else ()
    behind = tuple((kind, folder) for kind, folder in behind if kind != "Dropout")  # which is for training
    unknown = [kind for kind, _ in behind if kind not in ("Dense", "LayerNorm", "Normalize")]
    if unknown:
        raise UnsupportedModel(f"{card.name}: its module {unknown[0]} is not supported; Dense, LayerNorm and Normalize are")
    modules = [read_module(Path(card.path) / folder, kind) for kind, folder in behind]
    return nn.Sequential(*modules).eval() if modules else None


def read_embedding(card: ModelCard) -> nn.Module | None:
    """All that makes a sentence's embedding of the pooled row: `read_chain`, then truncate_dim."""
    chain, size = read_chain(card), read_json(Path(card.path) / "config_sentence_transformers.json").get("truncate_dim")
    if not size:
        return chain
    return nn.Sequential(*filter(None, (chain, First(int(size))))).eval()


def read_projection(card: ModelCard, folder: Path) -> nn.Module | None:
    """ColBERT's linear over tokens: a Dense module of modules.json, or `linear.weight` among the model's own weights; None when absent."""
    dense = [place for kind, place in card.modules if kind == "Dense"]
    if dense:
        modules = [read_module(Path(card.path) / place, "Dense") for place in dense]
        return nn.Sequential(*modules).eval()
    weight = read_rows(folder, "linear.weight")
    if weight is None:
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.load_state_dict({"weight": weight})
    return linear.eval()

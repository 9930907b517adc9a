"""What a model's body must be for a packed row: attention through transformers' interface, nothing else mixes tokens, known positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard

PACKS = frozenset({
    "albert", "bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "eurobert", "gemma", "gemma2",
    "gemma3_text", "granite", "gte", "jina_embeddings_v3", "llama", "ministral3", "mistral", "modernbert", "modernbert-decoder",
    "nomic_bert", "phi3", "qwen2", "qwen3", "roberta", "xlm-roberta", "xlm-roberta-xl",
})  # fmt: skip
"""`model_type`s whose packed row was held against padded input (tests/models/test_bodies.py). Others may mix tokens by more than attention
(convolutions, states, biases by distance in the row) and take the padded way."""
PADS = frozenset({
    "deberta", "deberta-v2", "luke", "megatron-bert", "mpnet", "rembert", "roberta-prelayernorm", "roformer", "splinter", "xmod",
})  # fmt: skip
"""`model_type`s that mask padding wherever tokens mix, as it was held against rows alone. In others a convolution or a transform along the
row may read it (ConvBERT, FNet, MobileBERT), so these are only ever run in rows of one length."""
STATIC_ROPES = frozenset({"default", "linear", "llama3", "yarn", "proportional"})
"""Rope types whose angles do not depend on the longest sequence in the batch."""


@dataclass(frozen=True, slots=True)
class Positions:
    """A learned position table: `offset` is the first token's row, `count` how many tokens it holds; None without a table."""

    offset: int
    count: int | None


def packs(kind: type[PreTrainedModel], model_type: str) -> bool:
    """If models of this class may be run on a packed row."""
    return bool(kind._supports_attention_backend) and model_type in PACKS


def read_positions(base: nn.Module) -> Positions:
    """RoBERTa and its children begin behind the padding token's row, which their table itself names; all others begin at row 0."""
    for module in base.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            offset = 0 if table.padding_idx is None else table.padding_idx + 1
            return Positions(offset, table.num_embeddings - offset)
    return Positions(0, None)


def check_rope(card: ModelCard, config: PreTrainedConfig) -> None:
    """Refuse rope types that change with the longest sequence in the batch: scores would depend on the company; raises UnsupportedModel."""
    for rope in _ropes(getattr(config.get_text_config(), "rope_parameters", None)):
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in STATIC_ROPES:
            raise UnsupportedModel(f"{card.name}: rope_type is {kind!r} in config.json; supported are {', '.join(sorted(STATIC_ROPES))}")


def _ropes(parameters: Any) -> list[dict[str, Any]]:
    """One rope for all layers, or one for each kind of layer."""
    if not isinstance(parameters, dict):
        return []
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]

"""From hidden states to numbers: reading rows out of a pack, and the heads that turn a row into a raw score, all in float32."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from batching.scoring.batch import Batch

RowRead = Literal["first", "last", "mean"]


class Head(Protocol):
    """Rows float32 [N, H] to raw scores float32 [N]; `module` holds its weights."""

    module: nn.Module

    def __call__(self, rows: Tensor) -> Tensor: ...


def read_rows(hidden: Tensor, batch: Batch, how: RowRead) -> Tensor:
    """One row per sequence by place, float32 [S, H]: its first token, its last, or the mean of all."""
    if how == "mean":
        return _means(hidden, batch)
    offsets = batch.tensors["offsets"]
    rows = offsets[:-1] if how == "first" else offsets[1:] - 1
    return hidden.index_select(0, rows).float()


def _means(hidden: Tensor, batch: Batch) -> Tensor:
    """Mean of every sequence's rows, float32 [S, H]; by runs where the layout is sorted, else by one segmented reduction."""
    if batch.segments.kernel.sorts:
        parts = [
            hidden[run.start : run.start + run.count * run.length].unflatten(0, (run.count, run.length)).mean(1, dtype=torch.float32)
            for run in batch.layout.runs
        ]
        return torch.cat(parts)
    # unsafe: skips a check of the offsets that would wait for the device
    offsets = batch.tensors["offsets"].long()
    return torch.segment_reduce(hidden.float(), "mean", offsets=offsets, axis=0, unsafe=True)


class Recall(nn.Module):
    """Stands where a classification model's base was: gives back the rows it is handed, pooled by the base's own pooler."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.pooler = getattr(base, "pooler", None)
        # ALBERT's pooler is a bare linear; its activation sits on the base
        self.activation = getattr(base, "pooler_activation", None)

    def forward(self, input_ids: None = None, *, inputs_embeds: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """`inputs_embeds` [N, 1, H] are final hidden states."""
        pooled = None
        if self.activation is not None and self.pooler is not None:
            pooled = self.activation(self.pooler(inputs_embeds[:, 0]))
        elif self.pooler is not None:
            pooled = self.pooler(inputs_embeds)
        return BaseModelOutputWithPooling(last_hidden_state=inputs_embeds, pooler_output=pooled)


class OwnHead:
    """The model's own classification head, whatever it is made of: its class's forward with the base taken out."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Take `model`'s base out; what remains is the head, in float32. The caller keeps the base."""
        base = getattr(model, model.base_model_prefix)
        setattr(model, model.base_model_prefix, Recall(base))
        if getattr(base, "pooler", None) is not None:
            base.pooler = None
        self.module = model.float().eval()

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Head`."""
        logits: Tensor = self.module(inputs_embeds=rows.unsqueeze(1)).logits
        return logits[:, 0]


class LinearHead:
    """A single linear read-out, as decoders have: raw = rows . weight / temperature + bias."""

    def __init__(self, weight: Tensor, bias: float = 0.0, temperature: float = 1.0) -> None:
        """`weight` [H], kept in float32."""
        self.module = nn.Module()
        self.module.register_buffer("weight", weight.detach().float().clone() / temperature)
        self._bias = bias / temperature

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Head`."""
        weight: Tensor = self.module.get_buffer("weight")
        return rows @ weight + self._bias


class ChainHead:
    """A chain of modules that ends in one number per row."""

    def __init__(self, chain: nn.Module) -> None:
        self.module = chain

    def __call__(self, rows: Tensor) -> Tensor:
        """See `Head`."""
        scores: Tensor = self.module(rows)
        return scores[:, 0]


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosine of matching rows, float32 [N]."""
    return functional.cosine_similarity(left.float(), right.float(), dim=-1)

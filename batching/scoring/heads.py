"""From rows of hidden states to numbers: the heads that turn a row into a raw score, all in float32."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling


class Head(Protocol):
    """Rows float32 [N, H] to raw scores float32 [N]; `module` holds its weights."""

    module: nn.Module

    def __call__(self, rows: Tensor) -> Tensor: ...


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

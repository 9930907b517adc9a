"""The packed forward of an encoder body: embeddings, layers, and only what is read of the last one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from batching.scoring.onednn.attention import Heads
from batching.scoring.onednn.embeddings import Embeddings
from batching.scoring.onednn.fastest import Backend, chosen
from batching.scoring.onednn.int8 import Int8Layer, make_samples, observe
from batching.scoring.onednn.layers import Layer, ReadLayer, WholeLayer
from batching.scoring.onednn.passes import TorchPasses
from batching.scoring.onednn.rows import Rows, arrange
from batching.scoring.onednn.scratch import Scratch
from batching.scoring.onednn.weights import EncoderWeights, read_weights
from batching.types import Int32s

Read = Literal["first", "last", "mean", "all"]


class PackedEncoder:
    """A BERT-shaped body on prepacked oneDNN linears. Keeps nothing of the model but its embedding tables. Not thread-safe."""

    def __init__(
        self,
        model: PreTrainedModel,
        dtype: torch.dtype = torch.float32,
        *,
        read: Read = "all",
        int8: bool = False,
        backend: Backend = "auto",
    ) -> None:
        """Pack `model`, a base model on the CPU, best loaded in float32, for `dtype` float32 or bfloat16.

        `read`: what calls return. `int8`: products in int8, but for the first layer's last one, and but for a last layer that is read by
        the row; those and attention are in `dtype`. `backend`: what computes it; the fastest that
        serves this model on this machine by default. Raises ValueError for a model or number type that has no packed forward.
        """
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"the packed CPU forward runs in float32 or bfloat16, not {dtype}")
        own = read_weights(model)
        self.dtype, self.read, self.int8 = dtype, read, int8
        self._passes = chosen(own, backend, dtype, int8=int8)
        self.backend = self._passes.name
        self._heads = Heads(own.heads, own.layers[0].query.weight.shape[0] // own.heads)
        self._embeddings = Embeddings(own.embeddings, own.position_offset, self._passes)
        self._scratch = Scratch()
        self._layers = self._pack(own)

    @torch.inference_mode()
    def __call__(self, ids: Int32s, lengths: Int32s, types: Int32s | None = None) -> Tensor:
        """Final hidden states, float32, of S sequences laid end to end, in the caller's order.

        `ids` int32 [T], `lengths` int32 [S], `types` int32 [T] or None for zeros. Returns [S, H], or [T, H] when `read` is "all". Raises
        ValueError for lengths that don't add up, IndexError for an id, a type or a length outside the model's tables.
        """
        rows = arrange(lengths, last=self.read == "last", exact=self._passes.any_rows(self.dtype))
        if rows.tokens != len(ids):
            raise ValueError(f"the lengths add up to {rows.tokens} tokens, but {len(ids)} are given")
        x = self._embeddings(ids, types, rows, self._scratch)
        for layer in self._layers:
            x = layer(x.to(layer.dtype), rows, self._scratch)
        return self._pick(x, rows)

    def _pack(self, own: EncoderWeights) -> list[Layer]:
        """All layers, the last one by what is read of it."""
        if self.int8:
            return self._quantise(own)
        whole = self._whole(own)
        layers: list[Layer] = [WholeLayer(layer, self._heads, self.dtype, own.activation, self._passes) for layer in own.layers[:whole]]
        return layers + self._reading(own)

    def _reading(self, own: EncoderWeights) -> list[Layer]:
        """The last layer, where only a row of each sequence goes through it."""
        return [ReadLayer(layer, self._heads, self.dtype, own.activation, self._passes) for layer in own.layers[self._whole(own) :]]

    @torch.inference_mode()
    def _quantise(self, own: EncoderWeights) -> list[Layer]:
        """int8 layers, fitted to what a float32 forward over random tokens shows."""
        ids, lengths = make_samples(len(own.embeddings.words), len(own.embeddings.positions) - own.position_offset)
        rows, whole, plain = arrange(lengths), self._whole(own), TorchPasses(own.activation)
        x = self._embeddings(ids, None, rows, self._scratch)
        packed: list[Layer] = []
        for number, layer in enumerate(own.layers[:whole]):
            x, reach = observe(WholeLayer(layer, self._heads, torch.float32, own.activation, plain), x, rows, self._scratch)
            packed.append(Int8Layer(layer, reach, self._heads, self.dtype, self._passes, exact=number == 0))
        return packed + self._reading(own)

    def _whole(self, own: EncoderWeights) -> int:
        """Layers that every row goes through."""
        return len(own.layers) - (self.read in ("first", "last"))

    def nbytes(self) -> int:
        """Bytes of weights and of reused memory held, the model's own embedding tables included."""
        return self._embeddings.nbytes + sum(layer.nbytes for layer in self._layers) + self._scratch.nbytes()

    def _pick(self, x: Tensor, rows: Rows) -> Tensor:
        """What is read of the last layer's output, in the caller's order, float32."""
        if self.read == "all":
            found = torch.empty(rows.tokens, x.shape[1])
            sources = slice(None) if rows.sources is None else torch.from_numpy(rows.sources)
            found[sources] = x[: rows.tokens].float()
            return found
        found = torch.empty(len(rows.lengths), x.shape[1])
        picked = _means(x, rows) if self.read == "mean" else x[: len(rows.lengths)].float()
        found[torch.from_numpy(rows.order)] = picked
        return found


def _means(x: Tensor, rows: Rows) -> Tensor:
    """The mean of every sequence's rows, float32 [S, H]."""
    return torch.cat(
        [
            x[run.start : run.start + run.count * run.length].unflatten(0, (run.count, run.length)).mean(1, dtype=torch.float32)
            for run in rows.runs
        ]
    )

"""The fused forward itself: embeddings, layers, and of the last layer only the rows that are read.

GELU is the tanh one, as cuBLAS has it inside its products; it differs from the exact one by less than half precision's own rounding.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor
from transformers import PreTrainedModel

from batching.scoring.batch import Batch, RowRead, read_rows
from batching.scoring.float8 import MULTIPLE, scaled_mm
from batching.scoring.float8 import Product as Float8Product
from batching.scoring.fused.kernels import Passes, Rows, Spans, Triton
from batching.scoring.fused.weights import Layer, Product, layer_of, part
from batching.scoring.kernels import HALF
from batching.scoring.layout import Layout
from batching.scoring.onednn.weights import read_weights, unlike
from batching.types import Int32s

LARGEST_HEAD = 128


def available(device: torch.device, dtype: torch.dtype) -> str | None:
    """What this machine lacks, in one line; None when the forward can run."""
    if device.type != "cuda" or torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a CUDA device of compute capability 8.0 or newer"
    if dtype not in HALF:
        return f"it runs in bfloat16 and float16, not {dtype}"
    return None if importlib.util.find_spec("triton") else "Triton is not installed"


def unsupported(model: PreTrainedModel, *, float8: bool = False) -> str | None:
    """Why `model` can't run here, in one line; None when it can. `float8`: with products that take only some widths."""
    reason = unlike(model)
    if reason is not None:
        return reason
    config = model.config
    head = config.hidden_size // config.num_attention_heads
    if config.hidden_act != "gelu" or head > LARGEST_HEAD or getattr(model, "embeddings_project", None) is not None:
        return f"the activation {config.hidden_act!r}, heads of {head} or projected embeddings have no fused forward"
    if float8 and any(width % MULTIPLE for width in (config.hidden_size, config.intermediate_size)):
        return f"a width of {config.hidden_size} or {config.intermediate_size} is no multiple of {MULTIPLE}, as float8 products need it"
    return None


class FusedForward:
    """A BERT-shaped body on its device already, in half precision; see `Forward`."""

    padded = False
    warm_up_rows: tuple[int, ...] = ()

    def __init__(self, base: PreTrainedModel, *, float8: bool, passes: Passes | None = None, product: Float8Product = scaled_mm) -> None:
        """`passes` and `product`: stand-ins where there is no CUDA device. Raises ValueError for a model that `unsupported` names."""
        own = read_weights(base)
        self.backend = "fused"
        self._passes, self._product = passes or Triton(float8=float8), product
        self._tables = own.embeddings
        self._heads, self._width = own.heads, own.layers[0].query.weight.shape[0]
        norms = [own.embeddings.norm, *(layer.norm for layer in own.layers)]
        self._layers = tuple(layer_of(layer, before, float8=float8) for layer, before in zip(own.layers, norms, strict=False))
        mix = self._layers[-1].mix
        self._ask, self._answer = part(mix, 0, self._width), part(mix, self._width, 3 * self._width)
        self._scale = (self._width // self._heads) ** -0.5

    def fill(self, tokens: int) -> int:
        """See `Forward`."""
        return 0

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """See `Forward`."""
        return {}

    def hidden(self, batch: Batch) -> Tensor:
        """See `Forward`."""
        return self._run(batch, self._layers).values

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """See `Forward`. A row's last layer needs all keys and values, and nothing else of the other rows."""
        if read == "mean":
            return read_rows(self.hidden(batch), batch, read)
        x, offsets, last = self._run(batch, self._layers[:-1]), batch.tensors["offsets"], self._layers[-1]
        picked = offsets[:-1] if read == "first" else offsets[1:] - 1
        few = Rows(*(None if one is None else one.index_select(0, picked) for one in (x.values, x.quantised, x.scales)))  # type: ignore[arg-type]
        width = self._width
        q, kv = self._linear(few, self._ask), self._linear(x, self._answer)
        singles = torch.arange(len(offsets), device=offsets.device, dtype=torch.int32)
        spans = Spans(singles, offsets, 1)
        mixed = self._passes.attend(self._split(q), self._split(kv[:, :width]), self._split(kv[:, width:]), spans, self._scale, last.step)
        return self._finish(mixed, few, last).values.float()

    def weights_bytes(self) -> int:
        """See `Forward`."""
        products = sum(one.nbytes for layer in self._layers for one in (layer.mix, layer.output, layer.up, layer.down))
        return products + sum(table.nbytes for table in (self._tables.words, self._tables.positions, self._tables.types))

    def _run(self, batch: Batch, layers: tuple[Layer, ...]) -> Rows:
        tensors, width = batch.tensors, self._width
        spans = Spans(tensors["offsets"], tensors["offsets"], batch.segments.longest or batch.layout.longest)
        x = self._passes.embed(tensors["ids"], tensors["positions"], tensors.get("types"), self._tables)
        for layer in layers:
            mix = self._linear(x, layer.mix)
            q, k, v = (self._split(mix[:, width * number : width * (number + 1)]) for number in range(3))
            x = self._finish(self._passes.attend(q, k, v, spans, self._scale, layer.step), x, layer)
        return x

    def _finish(self, mixed: Rows, x: Rows, layer: Layer) -> Rows:
        """All of a layer behind its attention."""
        x = self._passes.add_norm(self._linear(mixed, layer.output), x.values, layer.attention_norm)
        return self._passes.add_norm(self._linear(self._raised(x, layer.up), layer.down), x.values, layer.norm)

    def _raised(self, x: Rows, up: Product) -> Rows:
        """GELU behind the product, inside it where it is no float8 one."""
        if up.scale is not None:
            return self._passes.gelu(self._linear(x, up))
        return Rows(torch._addmm_activation(up.bias, x.values, up.weight.t(), use_gelu=True))

    def _linear(self, x: Rows, product: Product) -> Tensor:
        if product.scale is None or x.quantised is None or x.scales is None:
            return torch.addmm(product.bias, x.values, product.weight.t())
        return self._product(x.quantised, product.weight, x.scales, product.scale, product.bias, product.bias.dtype)

    def _split(self, x: Tensor) -> Tensor:
        """[T, H] as [T, heads, D], whatever its rows' stride."""
        return x.unflatten(1, (self._heads, -1))

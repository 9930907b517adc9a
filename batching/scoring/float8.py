"""Products in float8 (e4m3): weights with a scale for each output, fixed at load; activations with a scale for each row, found on the way.

Only the linears of a body's layers: embeddings, norms, attention and heads keep their number type. The recipe is torch._scaled_mm's
rowwise one. The same arithmetic on dequantised numbers stands in for it where the device has no such product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from batching.errors import SettingError
from batching.scoring.compiled import blocks_of

FLOAT8 = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest e4m3 number."""
TINY = 1e-12
MULTIPLE = 16
"""Both sides of a weight must be multiples of this for the product."""
CAPABILITY = (8, 9)


class Product(Protocol):
    """(x e4m3 [M, K], weight e4m3 [N, K], scales of x [M, 1] and weight [N, 1] float32, bias [N] or None, result's type) to [M, N]."""

    def __call__(
        self, x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor: ...


def scaled_mm(x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The device's own product; see `Product`. Adds up in the matrix unit's own precision."""
    return torch._scaled_mm(x, weight.t(), scale_a=x_scale, scale_b=weight_scale.t(), bias=bias, out_dtype=dtype, use_fast_accum=True)


def emulated(x: Tensor, weight: Tensor, x_scale: Tensor, weight_scale: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The same product of dequantised numbers in float32; see `Product`."""
    product = (x.float() * x_scale) @ (weight.float() * weight_scale).t()
    return (product if bias is None else product + bias.float()).to(dtype)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` [M, K] as e4m3 with one scale for each row, float32 [M, 1]; a row with a NaN stays NaN, one of zeros stays zero."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp_min(TINY) / LARGEST
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FLOAT8), scale


Quantise = Callable[[Tensor], tuple[Tensor, Tensor]]
"""`quantise_rows`, or another way to the same."""


class Float8Linear(nn.Module):
    """In place of an nn.Linear; its bias keeps the body's number type."""

    def __init__(self, linear: nn.Linear, product: Product, quantise: Quantise = quantise_rows) -> None:
        super().__init__()
        weight, scale = quantise_rows(linear.weight.detach())
        self.register_buffer("weight", weight.contiguous(), persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach(), persistent=False)
        self._product, self._quantise = product, quantise

    def forward(self, x: Tensor) -> Tensor:
        """`x` [..., K] to [..., N] in `x`'s number type."""
        rows, scale = self._quantise(x.reshape(-1, x.shape[-1]))
        result = self._product(rows, self.get_buffer("weight"), scale, self.get_buffer("scale"), self._buffers["bias"], x.dtype)
        return result.view(*x.shape[:-1], result.shape[-1])


def fits(linear: nn.Module) -> bool:
    """If a module is a linear of a shape that the product takes."""
    return type(linear) is nn.Linear and all(side % MULTIPLE == 0 for side in linear.weight.shape)


def to_float8(base: nn.Module, product: Product, quantise: Quantise = quantise_rows) -> int:
    """Put a `Float8Linear` for every fitting linear of `base`'s layers; how many there were."""
    count = 0
    for block in blocks_of(base):
        for module in list(block.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and fits(child):
                    setattr(module, name, Float8Linear(child, product, quantise))
                    count += 1
    return count


def check_float8(device: torch.device) -> None:
    """Raise SettingError where the device has no rowwise float8 product."""
    if device.type != "cuda" or torch.version.hip is not None:
        raise SettingError(f"dtype 'float8' needs a CUDA device of compute capability 8.9 or newer, not {device}; use 'auto'")
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        have = ".".join(map(str, capability))
        raise SettingError(f"dtype 'float8' needs a CUDA device of compute capability 8.9 or newer, and {device} has {have}; use 'auto'")
    x, scale = quantise_rows(torch.ones(MULTIPLE, MULTIPLE, device=device))
    try:
        scaled_mm(x, x, scale, scale, None, torch.bfloat16)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise SettingError(f"dtype 'float8': this torch has no rowwise float8 product for {device}: {reason}; use 'auto'") from error

"""oneDNN's products in bfloat16 and of bytes, on a processor that has neither: a pytest plugin for `ops/test-avx512`, which says `-p`.

Values are right, and as precise as where the instructions are; times mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

mkldnn: Any = torch.ops.mkldnn
onednn: Any = torch.ops.onednn
reorder: Callable[..., Tensor] = mkldnn._reorder_linear_weight
pointwise: Callable[..., Tensor] = mkldnn._linear_pointwise


def reorder_any(weight: Tensor, rows: int | None = None) -> Tensor:
    """Pack bfloat16 values in the layout of float32."""
    return reorder(weight.float(), rows)


def pointwise_any(x: Tensor, weight: Tensor, bias: Tensor | None, *activation: Any) -> Tensor:
    """Multiply in float32, which sums as exactly as bfloat16's instructions do."""
    return pointwise(x.float(), weight, None if bias is None else bias.float(), *activation).to(x.dtype)


def prepack_bytes(weight: Tensor, _shape: list[int]) -> Tensor:
    """Keep whole numbers as float64, in which sums of their products are exact, as they are in int32."""
    return weight.double()


def pointwise_bytes(x: Tensor, x_step: float, x_zero: int, weight: Tensor, steps: Tensor, *_: Any) -> Tensor:
    """The operator's first five arguments are all that `QuantisedLinear` sets."""
    return (((x.double() - x_zero) @ weight.T) * (steps.double() * x_step)).float()


if not torch.cpu._is_avx512_bf16_supported():
    torch.cpu._is_avx512_bf16_supported = lambda: True
    mkldnn._reorder_linear_weight, mkldnn._linear_pointwise = reorder_any, pointwise_any
if not torch.cpu._is_vnni_supported():
    torch.cpu._is_vnni_supported = lambda: True
    onednn.qlinear_prepack, onednn.qlinear_pointwise = prepack_bytes, pointwise_bytes

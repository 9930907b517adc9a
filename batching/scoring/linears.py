"""Products with weights laid out once for oneDNN, under any model's own modules on the CPU: float32 linears run up to twice as fast so.

oneDNN compiles and keeps a kernel for every row count that it meets; `round_rows` keeps these few.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from batching.scoring.onednn.share import packed
from batching.scoring.race import race

ROWS_HINT = 2048
"""Rows that the layout is chosen for; it serves all other counts as well."""
MARGIN = 1.05
RACE_ROWS = 256
TURNS = 4
"""The first is a warm-up: the best counts."""
STEPS = ((256, 8), (1024, 16), (4096, 64))
LAST_STEP = 256


class PrepackedLinear(nn.Module):
    """In place of an nn.Linear whose weight it takes over."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.nbytes = linear.weight.nbytes
        self.packed = packed(lambda: torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous(), ROWS_HINT))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [..., in] to [..., out]."""
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self._buffers["bias"], "none", [], "")
        return result


def prepack(base: nn.Module) -> int:
    """Put `PrepackedLinear` for every linear of `base`, one at a time so that memory never doubles; gives the bytes moved."""
    moved = 0
    for module in list(base.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                fresh = PrepackedLinear(child)
                setattr(module, name, fresh)
                moved += fresh.nbytes
    return moved


@torch.inference_mode()
def is_faster(base: nn.Module) -> bool:
    """A short race on the body's largest linear; False when this build or this machine gains nothing."""
    linears = [module for module in base.modules() if type(module) is nn.Linear]
    if not linears:
        return False
    largest = max(linears, key=lambda linear: linear.weight.numel())
    x = torch.randn(RACE_ROWS, largest.in_features, dtype=largest.weight.dtype)
    candidate = PrepackedLinear(largest)
    plain, prepacked = race(lambda: functional.linear(x, largest.weight, largest.bias), lambda: candidate(x), turns=TURNS)
    return plain >= MARGIN * prepacked


def round_rows(tokens: int) -> int:
    """The next row count out of a small set: at most 7 % more, and never fewer."""
    step = next((step for most, step in STEPS if tokens <= most), LAST_STEP)
    return -(-tokens // step) * step

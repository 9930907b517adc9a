"""How far apart two ways of computing the same hidden states are: what decides if the quicker one may stand in for the plain one."""

from __future__ import annotations

from torch import Tensor

DRIFT = 0.25
"""The most by which a row may be off. Half precision's rounding comes to a tenth of this, float8's to half; a wrong row is off by 1.4."""


def worst_row(got: Tensor, want: Tensor) -> float:
    """The largest root mean square difference of a row, [T, H], in units of the spread of all wanted values; NaN where one is NaN."""
    rows = (got.float() - want.float()).square().mean(-1).sqrt()
    return float(rows.max() / want.float().std().clamp_min(1e-6))

"""A short measurement at start: is the packed forward right here, and is it faster than the model's own modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from batching.scoring.onednn.encoder import PackedEncoder
from batching.scoring.race import race
from batching.types import Int32s

Hidden = Callable[[Int32s, Int32s, Int32s | None], Tensor]
"""ids int32 [T], lengths int32 [S], types int32 [T] or None, to what the encoder under test returns for them, in the same order."""

_LENGTHS = (24, 56, 56, 88, 120, 168)
_FLOPS_PER_SECOND = 2.5e10
"""What the slowest machine worth asking does; it bounds the probe's size."""
_DRIFT = {torch.float32: 1e-3, torch.bfloat16: 0.25}
_INT8_DRIFT = 0.5
_MARGIN = 1.02


@dataclass(frozen=True, slots=True)
class Choice:
    """`packed`: use the packed forward. `speedup` over the other one; `drift`: largest difference in units of the values' spread."""

    packed: bool
    speedup: float
    drift: float
    reason: str


def choose(packed: PackedEncoder, generic: Hidden, *, vocabulary: int, longest: int, seconds: float = 1.0) -> Choice:
    """Run both on made-up sequences for about `seconds` and decide; `generic` must read what `packed.read` does.

    `vocabulary`: ids below it exist; `longest`: tokens that one sequence may have. A packed forward that disagrees is never chosen.
    """
    probe = make_probe(probe_tokens(packed.nbytes(), seconds), vocabulary, longest)
    drift = largest_drift(packed(*probe), generic(*probe))
    if not drift <= _DRIFT[packed.dtype]:
        return Choice(False, float("nan"), drift, f"the packed forward disagrees with the model's own by {drift:.3g} of the spread")
    theirs, ours = race(lambda: generic(*probe), lambda: packed(*probe), seconds=seconds)
    speedup = theirs / ours
    faster = speedup >= _MARGIN
    return Choice(faster, speedup, drift, f"the packed forward is {speedup:.2f} times as fast as the model's own modules")


def check_int8(packed: PackedEncoder, generic: Hidden, *, vocabulary: int, longest: int) -> None:
    """Raise ValueError with the figure when int8 moves what is read further than a trained model's own rounding would; else return."""
    probe = make_probe(probe_tokens(packed.nbytes(), 1.0), vocabulary, longest)
    drift = largest_drift(packed(*probe), generic(*probe))
    if not drift <= _INT8_DRIFT:
        raise ValueError(f"int8 moves this model's hidden states by {drift:.2g} of their spread")


def largest_drift(got: Tensor, want: Tensor) -> float:
    """The largest difference in units of the spread of `want`; NaN when either holds one."""
    return float((got.float() - want.float()).abs().max() / want.float().std().clamp_min(1e-6))


def probe_tokens(weight_bytes: int, seconds: float) -> int:
    """Tokens that even a slow machine runs four times in `seconds`, between 64 and 512."""
    return int(np.clip(seconds * _FLOPS_PER_SECOND / max(weight_bytes / 2, 1) / 4, 64, 512))


def make_probe(tokens: int, vocabulary: int, longest: int) -> tuple[Int32s, Int32s, None]:
    """Sequences of mixed lengths, about `tokens` together, with ids from all of the vocabulary."""
    scale = tokens / sum(_LENGTHS)
    lengths = np.array([max(1, min(longest, round(length * scale))) for length in _LENGTHS], dtype=np.int32)
    ids = np.random.default_rng(0).integers(0, vocabulary, int(lengths.sum()), dtype=np.int32)
    return ids, lengths, None

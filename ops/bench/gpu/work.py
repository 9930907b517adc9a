"""The work of a forward in numbers, and the batches to time it on. Pure but for the random numbers, which come from a seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batching.types import Int32s, Pack

FIRST_ID, LAST_ID = 10, 1000


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the sequences are, in tokens: log-normal, cut to [low, high]; sigma 0: all the same."""

    name: str
    median: float
    sigma: float = 0.0
    low: int = 8
    high: int = 512

    def draw(self, tokens: int, rng: np.random.Generator) -> Int32s:
        """Draw lengths of about `tokens` tokens together, at least one."""
        count = max(1, math.ceil(tokens / max(self.low, self.median / 2)))
        drawn = np.clip(np.rint(self.median * np.exp(self.sigma * rng.standard_normal(count))), self.low, self.high).astype(np.int32)
        return drawn[: max(1, int(np.searchsorted(np.cumsum(drawn), tokens, side="right")))]


MIXED = Lengths("mixed, mean about 200", 170, 0.55)
LONG = Lengths("512 each", 512)
REQUEST = Lengths("128 each", 128)


def pack(lengths: Int32s, rng: np.random.Generator) -> Pack:
    """Make one entry of sequences with random ids."""
    count = np.array([len(lengths)], np.int32)
    ids = rng.integers(FIRST_ID, LAST_ID, int(lengths.sum()), dtype=np.int32)
    return Pack(ids, lengths, lengths // 4, count, count, np.array([False]))


def flops(config: Mapping[str, Any], lengths: Int32s) -> float:
    """Return the floating-point operations of an encoder's matrix products: linears by the token, attention by the square of a length."""
    hidden, layers, inner = (int(config[name]) for name in ("hidden_size", "num_hidden_layers", "intermediate_size"))
    linears = 2 * (4 * hidden * hidden + 2 * hidden * inner) * float(lengths.sum())
    attention = 4 * hidden * float((lengths.astype(np.float64) ** 2).sum())
    return layers * (linears + attention)


def kendall(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return Kendall's tau-a of two scorings: 1 where all pairs are in the same order, NaN for fewer than two."""
    if len(one) < 2:
        return math.nan
    upper = np.triu_indices(len(one), 1)
    signs = (np.sign(values[:, None] - values[None, :])[upper] for values in (one.astype(np.float64), other.astype(np.float64)))
    return float((next(signs) * next(signs)).mean())

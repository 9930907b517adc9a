"""From raw scores to the scores that callers see, in float64 so that large logits stay apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batching.families.card import ModelCard
from batching.types import Float32s


def activate(raw: Float32s, card: ModelCard) -> NDArray[np.float64]:
    """Apply the card's activation to raw scores [n]; NaN stays NaN, and the order never changes."""
    values = (raw.astype(np.float64) - card.shift) / card.scale
    if card.activation == "sigmoid":
        return sigmoid(values)
    if card.activation == "softmax":
        return softmax(values)
    if card.activation == "cosine":
        return np.clip(values, -1.0, 1.0)
    return values


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) without overflow, for any finite or infinite x."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1.0, small) / (1.0 + small)


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of a whole over the documents of one request; documents that are NaN stay NaN and count for nothing."""
    good = np.isfinite(values)
    if not good.any():
        return values
    powers = np.exp(np.where(good, values - values[good].max(), np.nan))
    return np.asarray(powers / powers[good].sum(), np.float64)

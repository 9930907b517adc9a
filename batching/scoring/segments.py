"""What an attention kernel is told about one packed forward: where sequences begin, what they share, how a layer attends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from batching.scoring.layout import NOWHERE, Layout, spans
from batching.types import Int32s


@dataclass(frozen=True, slots=True)
class How:
    """One layer's rule. `window` is the number of tokens seen to each side, the own one counted (65 sees 64 away); None sees all."""

    causal: bool
    window: int | None
    scale: float
    softcap: float | None


@dataclass(frozen=True, slots=True)
class SharedRows:
    """Tokens behind a prefix, grouped by prefix, and the prefixes' own tokens; int32 rows and cumulative offsets on the device."""

    rows: Tensor
    offsets: Tensor
    prefix_rows: Tensor
    prefix_offsets: Tensor
    longest: int
    longest_prefix: int


@dataclass(frozen=True, slots=True)
class Veil:
    """Sequences of equal length whose last tokens nobody attends to, not even themselves; they attend to the tokens before them.

    `rows` int64 [B, L]: the sequences' rows; `seen` int64 [B]: how many tokens of each are attended to.
    """

    rows: Tensor
    seen: Tensor


@dataclass(frozen=True, slots=True)
class Segments:
    """One forward's sequences as kernels need them. `offsets` int32 [S + 1] is `layout.offsets` on the device.

    `longest` bounds the tokens of a sequence, for kernels that ask; 0 is the layout's own longest.
    """

    kernel: Kernel
    layout: Layout
    offsets: Tensor
    shared: SharedRows | None = None
    longest: int = 0
    veil: Veil | None = None
    masks: dict[tuple[int, int, int | None, bool], Tensor] = field(default_factory=dict)

    def mask(self, queries: int, keys: int, how: How) -> Tensor:
        """Which of `keys` each of the last `queries` positions may see; bool [queries, keys], True: seen. Made once per forward."""
        key = (queries, keys, how.window, how.causal)
        if key not in self.masks:
            device = self.offsets.device
            apart = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)[None, :]
            seen = apart >= 0 if how.causal else torch.ones_like(apart, dtype=torch.bool)
            if how.window is not None:
                seen &= apart.abs() < how.window
            self.masks[key] = seen
        return self.masks[key]


class Kernel(Protocol):
    """Attention over one row of packed sequences; `sorts` asks for equal lengths side by side."""

    name: str
    sorts: bool

    def serves(self, query: Tensor, segments: Segments, how: How) -> bool:
        """If this kernel can do such a layer; what it can't, SDPA over runs does."""
        ...

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, segments: Segments, how: How) -> Tensor:
        """`query` [T, Hq, D], `key` and `value` [T, Hkv, D] to [T, Hq, D]; no token sees another sequence but its own prefix."""
        ...


def veil_arrays(layout: Layout, places: Int32s, seen: Int32s) -> dict[str, Int32s]:
    """Host arrays behind `Veil` for the sequences at `places`, of which the first `seen` tokens are attended to; empty without any."""
    lengths = layout.lengths[places]
    if not len(places):
        return {}
    if (lengths != lengths[0]).any():
        raise ValueError(f"queries filled up to different lengths: {lengths.tolist()}")
    return {"veil_rows": spans(layout.starts[places], lengths).astype(np.int32), "veil_seen": seen.astype(np.int32)}


def veil_of(tensors: dict[str, Tensor]) -> Veil | None:
    """`Veil` from the device copies of `veil_arrays`."""
    if "veil_rows" not in tensors:
        return None
    seen = tensors["veil_seen"].long()
    return Veil(rows=tensors["veil_rows"].long().view(len(seen), -1), seen=seen)


def shared_arrays(layout: Layout) -> dict[str, Int32s]:
    """Host arrays behind `SharedRows`, empty without prefixes; their prefix order is that of the prefixes' places."""
    if layout.prefixes is None:
        return {}
    behind = np.flatnonzero(layout.prefixes != NOWHERE)
    behind = behind[np.argsort(layout.prefixes[behind], kind="stable")]
    groups, first = np.unique(layout.prefixes[behind], return_index=True)
    lengths = layout.lengths
    tokens = np.add.reduceat(lengths[behind], first)
    return {
        "shared_rows": spans(layout.starts[behind], lengths[behind]).astype(np.int32),
        "shared_offsets": np.concatenate([[0], np.cumsum(tokens)]).astype(np.int32),
        "prefix_rows": spans(layout.starts[groups], lengths[groups]).astype(np.int32),
        "prefix_offsets": np.concatenate([[0], np.cumsum(lengths[groups])]).astype(np.int32),
    }


def shared_rows(layout: Layout, arrays: dict[str, Int32s], tensors: dict[str, Tensor]) -> SharedRows | None:
    """`SharedRows` from the arrays of `shared_arrays` and their device copies."""
    if layout.prefixes is None:
        return None
    return SharedRows(
        rows=tensors["shared_rows"],
        offsets=tensors["shared_offsets"],
        prefix_rows=tensors["prefix_rows"],
        prefix_offsets=tensors["prefix_offsets"],
        longest=int(np.diff(arrays["shared_offsets"]).max()),
        longest_prefix=int(np.diff(arrays["prefix_offsets"]).max()),
    )

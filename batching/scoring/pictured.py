"""A body that is given rows of images among its tokens: where they go, and the forward that puts them there.

Batches of text alone take the way they always took, captured graphs and compiled blocks included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from batching.scoring.batch import Batch, Forward, RowRead, module_bytes, read_rows
from batching.scoring.layout import NOWHERE, Layout
from batching.scoring.packed import PackedForward
from batching.scoring.vision import Vision
from batching.types import Int32s, Pack

TILES, SPOTS = "tiles", "spots"
"""Arrays of a batch with images: all tiles' bytes four to a number, and the row of every image token, in the tiles' order."""


@dataclass(frozen=True, slots=True)
class Spots:
    """Where tiles go: `token` stands `each` times in a sequence for every tile of `tile_bytes`."""

    token: int
    each: int
    tile_bytes: int

    def arrays(self, pack: Pack, layout: Layout) -> dict[str, Int32s]:
        """What a batch needs for its images, nothing where it has none. Raises ValueError when tiles and tokens do not match."""
        tiles = pack.tiles
        if tiles is None:
            return {}
        rows = np.flatnonzero(layout.ids == self.token)
        places = np.searchsorted(layout.offsets, rows, side="right") - 1
        numbers = np.full(len(layout.lengths), NOWHERE, np.int64)
        numbers[layout.places[layout.places != NOWHERE]] = np.flatnonzero(layout.places != NOWHERE)
        found = numbers[places]
        counts = np.bincount(found[found != NOWHERE], minlength=len(pack.lengths))
        if tiles.pixels.shape[1] != self.tile_bytes or (counts != tiles.counts * self.each).any():
            raise ValueError("the images' tiles and the tokens that stand for them do not match")
        spots = rows[np.argsort(found, kind="stable")].astype(np.int32)
        return {TILES: np.ascontiguousarray(tiles.pixels).reshape(-1).view(np.int32), SPOTS: spots}


class PicturedForward:
    """`inner` for text; for a batch with images the body itself, on embeddings in which their rows stand."""

    padded = False

    def __init__(self, inner: Forward, base: PreTrainedModel, vision: Vision, tile_bytes: int) -> None:
        self.backend = inner.backend
        self.warm_up_rows = inner.warm_up_rows
        self._inner, self._vision, self._tile_bytes = inner, vision, tile_bytes
        self._embed = base.get_input_embeddings()
        self._plain = PackedForward(base, inner.backend)

    def fill(self, tokens: int) -> int:
        """See `Forward`."""
        return self._inner.fill(tokens)

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """See `Forward`."""
        return self._inner.arrays(layout)

    def hidden(self, batch: Batch) -> Tensor:
        """See `Forward`."""
        return self._plain.hidden(self._pictured(batch)) if TILES in batch.tensors else self._inner.hidden(batch)

    def _pictured(self, batch: Batch) -> Batch:
        tiles = batch.tensors[TILES].view(torch.uint8).view(-1, self._tile_bytes)
        embeds: Tensor = self._embed(batch.tensors["ids"])
        rows = self._vision(tiles).to(embeds.dtype)
        return replace(batch, tensors=batch.tensors | {"embeds": embeds.index_copy(0, batch.tensors[SPOTS].long(), rows)})

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """See `Forward`."""
        return read_rows(self.hidden(batch), batch, read) if TILES in batch.tensors else self._inner.rows(batch, read)

    def weights_bytes(self) -> int:
        """See `Forward`."""
        return self._inner.weights_bytes() + module_bytes(self._vision)

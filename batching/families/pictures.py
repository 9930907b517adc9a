"""Images beside text: how many tiles an image is cut into, and the tokens that stand for them. No pixel is touched here.

Recipe: nvidia's published processing_llama_nemotron_vl.py, whose tiling is InternVL's dynamic one. Every tile, and a small copy of the
whole when there is more than one, is `side` pixels square and stands in the sequence as `tokens` equal tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from batching.errors import UnsupportedModel
from batching.families.base import Pictures
from batching.families.facts import Facts
from batching.families.vocabulary import Vocabulary
from batching.tiles import Pixels, Tiles
from batching.types import Int32s, Sequences

GRIDS = (
    (1, 1), (1, 2), (2, 1), (3, 1), (1, 3), (4, 1), (1, 4), (2, 2), (1, 5), (5, 1), (6, 1), (2, 3), (1, 6), (3, 2),
)  # fmt: skip
"""(columns, rows) of at most six tiles, in the order in which the reference tries them: of equals the first is taken."""
LARGE_ENOUGH = 0.6
"""A grid that holds this share of an image's pixels loses nothing for being no larger."""
MOST_TILES = 7
"""Six, and the whole."""


def grid(width: int, height: int, side: int) -> tuple[int, int]:
    """Columns and rows of the tiles that an image of `width` x `height` pixels is cut into, all resized to `side` x `side`."""
    shape = width / height

    def fit(columns: int, rows: int) -> float:
        kept = min((columns * rows * side * side) / (width * height), LARGE_ENOUGH)
        return kept * min((columns / rows) / shape, shape / (columns / rows))

    return max(GRIDS, key=lambda one: fit(*one))


def read_pictures(facts: Facts, pictures: Pictures) -> Pictures | None:
    """`pictures` with this checkpoint's sizes; None for one that was saved without its vision part. Raises UnsupportedModel."""
    if not facts.weights.has("mlp1.1.weight"):
        return None
    vision, config = facts.config.get("vision_config") or {}, facts.config
    side, patch = int(vision.get("image_size") or 0), int(vision.get("patch_size") or 0)
    ratio = float(config.get("downsample_ratio") or 0.5)
    wrong = {
        "vision_config.model_type": vision.get("model_type") == "siglip_vision_model",
        "vision_config.patch_size": patch > 0 and side % (2 * patch) == 0,
        "force_image_size": config.get("force_image_size") in (None, side),
        "downsample_ratio": ratio == 0.5,  # two by two patches become one token
        "select_layer": config.get("select_layer", -1) == -1,
    }
    bad = next((key for key, right in wrong.items() if not right), None)
    if bad is not None:
        raise UnsupportedModel(
            f"{facts.root}: {bad} in config.json is not what is supported here: SigLIP (siglip_vision_model), its last layer, "
            "tiles of its own image_size, 2 x 2 patches in one token"
        )
    patches = (side // patch) ** 2
    return replace(pictures, side=side, tokens=patches // 4, cost=round(patches * weights(vision) / max(1, weights(facts.text_config))))


def weights(config: dict[str, Any]) -> int:
    """About the weights that one token meets in a transformer's layers; for comparing two."""
    width, inner = int(config.get("hidden_size") or 0), int(config.get("intermediate_size") or 0)
    return int(config.get("num_hidden_layers") or 0) * width * (4 * width + 3 * inner)


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids that stand for one image."""

    opening: int
    token: int
    closing: int
    each: int
    """Tokens of a tile."""
    cost: int

    @classmethod
    def of(cls, pictures: Pictures, vocabulary: Vocabulary, config: dict[str, Any]) -> Marks:
        """Look them up. Raises UnsupportedModel for one that the vocabulary has not, or that config.json puts elsewhere."""
        opening, token, closing = (vocabulary.token(name) for name in pictures.marks)
        if config.get("img_context_token_id", token) != token:
            raise UnsupportedModel(
                f"{vocabulary.path} has {pictures.marks[1]} as {token}, img_context_token_id in config.json is another; "
                "the tokenizer does not belong to this model"
            )
        return cls(opening, token, closing, pictures.tokens, pictures.cost)

    def ids(self, tiles: int) -> Int32s:
        """What stands in the sequence for an image of so many tiles."""
        inner = np.full(2 + tiles * self.each, self.token, np.int32)
        inner[0], inner[-1] = self.opening, self.closing
        return inner


def split(images: Sequence[Pixels | None]) -> tuple[list[int], list[int]]:
    """Places of the documents without an image, and of those with one."""
    with_image = [place for place, image in enumerate(images) if image is not None]
    return [place for place, image in enumerate(images) if image is None], with_image


def weave(
    groups: Sequence[tuple[Sequences, list[int]]], images: Sequence[Pixels | None], marks: Marks, after: int
) -> tuple[Sequences, NDArray[np.intp]]:
    """Sequences of several groups, (sequences, their documents' places), in the documents' order, each image's ids put in behind the first
    `after` tokens of its sequence. And for every place the group's sequence, counted through the groups.
    """
    places = np.concatenate([np.array(found, np.intp) for _, found in groups])
    rows = [row for sequences, _ in groups for row in np.split(sequences.ids, np.cumsum(sequences.lengths)[:-1])]
    splits = np.concatenate([sequences.splits for sequences, _ in groups])
    order = np.argsort(places)
    parts: list[Int32s] = []
    lengths = np.zeros(len(images), np.int32)
    for place, image in enumerate(images):
        row = rows[order[place]]
        inside = [] if image is None else [marks.ids(len(image))]
        parts += [row[:after], *inside, row[after:]]
        lengths[place] = len(row) + sum(map(len, inside))
    counts = np.array([0 if image is None else len(image) for image in images], np.int32)
    pixels = np.concatenate([image for image in images if image is not None])
    return Sequences(np.concatenate(parts), lengths, splits[order], False, len(images), Tiles(counts, pixels, marks.cost)), order

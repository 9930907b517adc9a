"""An image becomes the tiles that were worked out by hand, and nothing is decoded that is larger than allowed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batching.families.pictures import GRIDS, MOST_TILES, grid
from batching.tiles import Pixels
from service.images.pixels import BadImage, cut
from tests.unit.images.files import bomb, encoded, noise, quarters

SIDE = 32
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def tiles(data: bytes, side: int = SIDE, most: int = 1_000_000) -> Pixels:
    return cut(data, side, most, lambda size: None).reshape(-1, side, side, 3)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (100, 100, (1, 1)),  # 0.6 for (1, 1) and for (2, 2); the first wins
        (512, 512, (1, 1)),
        (1024, 1024, (2, 2)),  # 0.6 against 0.25 for (1, 1)
        (1000, 500, (2, 1)),
        (500, 1000, (1, 2)),
        (3000, 500, (6, 1)),
        (500, 3000, (1, 6)),
        (100, 10_000, (1, 6)),
        (1920, 1080, (3, 2)),  # 0.6 * 1.5 / 1.78 = 0.506; (2, 2): 0.506 * 0.5625 = 0.284
        (1700, 2200, (2, 3)),  # a page: 0.421 * 0.863 = 0.363; (2, 2): 0.280 * 0.773 = 0.217
        (2200, 1700, (3, 2)),
        (640, 480, (3, 2)),  # 0.6 * 0.889; (1, 1): 0.6 * 0.75
    ],
)
def test_grids_worked_out_by_hand(width: int, height: int, expected: tuple[int, int]) -> None:
    """Columns and rows are those that the published formula gives on paper."""
    assert grid(width, height, 512) == expected


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_no_grid_is_better_than_the_one_chosen(width: int, height: int) -> None:
    """By the published formula, written out once more, the chosen grid is the best, and the first of the best."""

    def fit(columns: int, rows: int) -> float:
        shape, target = width / height, columns / rows
        return min((columns * rows * 512 * 512) / (width * height), 0.6) * min(target / shape, shape / target)

    best = max(fit(*one) for one in GRIDS)
    assert grid(width, height, 512) == next(one for one in GRIDS if fit(*one) == best)


def test_grids_are_all_of_up_to_six_tiles_in_the_published_order() -> None:
    """The order among equals is that of the published program's sorted set."""
    found = {(i, j) for n in range(1, 7) for i in range(1, n + 1) for j in range(1, n + 1) if i * j <= 6}
    assert list(GRIDS) == sorted(found, key=lambda one: one[0] * one[1])
    assert MOST_TILES == 7


def test_quarters_come_row_by_row_and_the_whole_last() -> None:
    """A square of four colours is four tiles of one colour each, left to right and down, then the whole, smaller."""
    found = tiles(encoded(quarters(SIDE)))
    assert len(found) == 5
    for tile, colour in zip(found, (RED, GREEN, BLUE, WHITE), strict=False):
        assert (tile == colour).all()
    whole = found[4]
    assert [tuple(whole[y, x]) for y, x in ((4, 4), (4, 27), (27, 4), (27, 27))] == [RED, GREEN, BLUE, WHITE]


def test_one_tile_is_the_whole_image_alone() -> None:
    """An image of one tile has no copy of the whole beside it, and is squeezed to a square."""
    picture = noise(SIDE, SIDE)
    found = tiles(encoded(picture))
    np.testing.assert_array_equal(found[0], np.asarray(picture))
    assert len(found) == 1
    assert tiles(encoded(noise(7, 6))).shape == (1, SIDE, SIDE, 3)


def test_pixels_are_pillows_bicubic() -> None:
    """Resizing is bicubic on the whole image, before it is cut."""
    picture = noise(70, 33)
    found = tiles(encoded(picture))
    large = np.asarray(picture.resize((2 * SIDE, SIDE), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(found[0], large[:, :SIDE])
    np.testing.assert_array_equal(found[1], large[:, SIDE:])
    np.testing.assert_array_equal(found[2], np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
        *(("GIF", mode) for mode in ("1", "L", "P", "RGBA")),
        *(("WEBP", mode) for mode in ("L", "RGBA")),
        *(("BMP", mode) for mode in ("1", "L", "P", "RGBA")),
    ],
)
def test_every_kind_and_mode_becomes_rgb(kind: str, mode: str) -> None:
    """Whatever a file holds, its tiles are RGB, made as the published steps make them: resized as it is, converted last."""
    picture = noise(SIDE, SIDE).convert("L").convert(mode) if mode == "I;16" else noise(SIDE, SIDE).convert(mode)
    found = tiles(encoded(picture, kind))
    assert found.shape == (1, SIDE, SIDE, 3)
    assert found.dtype == np.uint8


def test_transparency_is_dropped_not_blended() -> None:
    """As published, the colour under a transparent pixel is what is seen."""
    picture = Image.new("RGBA", (SIDE, SIDE), (200, 100, 50, 255))
    assert (tiles(encoded(picture))[0] == (200, 100, 50)).all()


def test_a_bomb_is_refused_by_its_header() -> None:
    """A file of a few bytes that claims gigapixels is refused before memory is asked for."""
    told: list[int] = []
    with pytest.raises(BadImage, match=r"60,000 x 60,000 pixels, more than 50,000,000 in all \(RERANKER_IMAGE_PIXELS\)"):
        cut(bomb(60_000, 60_000), SIDE, 50_000_000, told.append)
    assert told == []


def test_the_bytes_of_all_tiles_are_told_before_decoding() -> None:
    """Whoever keeps count may refuse an image before it is decoded; what is told is what the tiles then take."""
    told: list[int] = []
    found = cut(encoded(quarters(SIDE)), SIDE, 1_000_000, told.append)
    assert told == [found.nbytes]

    def refuse(size: int) -> None:
        raise MemoryError(size)

    with pytest.raises(MemoryError):
        cut(bomb(64, 64), SIDE, 1_000_000, refuse)


WHOLE = {kind: encoded(noise(90, 60), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")}


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, b"<svg/>", b"GIF89a", bomb(64, 64), encoded(noise(9, 9), "TIFF"), encoded(noise(9, 9), "PPM")]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    """Other files, other formats and broken ones are a BadImage."""
    with pytest.raises(BadImage):
        tiles(data)


@pytest.mark.parametrize("kind", list(WHOLE))
def test_damaged_files_never_raise_anything_else(kind: str) -> None:
    """A cut or spoilt file is either read or a BadImage."""
    dice = random.Random(5)
    for _ in range(60):
        data = bytearray(WHOLE[kind])
        if dice.random() < 0.4:
            del data[dice.randrange(len(data)) :]
        for _ in range(dice.randrange(1, 6)):
            if data:
                data[dice.randrange(min(len(data), 200))] = dice.randrange(256)
        try:
            assert tiles(bytes(data)).shape[1:] == (SIDE, SIDE, 3)
        except BadImage:
            continue

"""An image file to the tiles that a model reads, with Pillow; blocks, and is made for a thread.

The steps are those of the published processor, in its order and with its filters: the whole image is resized in its own mode first, and its
parts become RGB last. An image is looked at before it is decoded: what it claims to be decides whether it may become pixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image

from batching.families.pictures import grid
from batching.tiles import Pixels
from service.settings import PREFIX

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
Image.MAX_IMAGE_PIXELS = None  # `cut` looks at the size itself, before a pixel is decoded
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(ValueError):
    """The bytes are no image that is taken here; the message continues "the image"."""


def cut(data: bytes, side: int, most_pixels: int, take: Callable[[int], None]) -> Pixels:
    """Tiles uint8 [k, side * side * 3] of an image file; `take` is told their bytes before anything is decoded, and may refuse.

    Raises BadImage for what can't be decoded or has more than `most_pixels`.
    """
    with _opened(data) as image:
        width, height = image.size
        if width * height > most_pixels:
            raise BadImage(f"has {width:,} x {height:,} pixels, more than {most_pixels:,} in all ({PREFIX}IMAGE_PIXELS)")
        columns, rows = grid(width, height, side)
        count = columns * rows + (columns * rows > 1)
        take(count * side * side * 3)
        try:
            image.load()
            return _tiles(image, columns, rows, side)
        except Exception as error:  # noqa: BLE001  decoders meet bytes that nobody vetted, and fail in every way there is
            raise BadImage(f"can't be decoded: {type(error).__name__}") from None


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:  # noqa: BLE001  as in `cut`
        raise BadImage(f"can't be read; the formats are {', '.join(FORMATS)}") from None
    if min(image.size) < 1:
        raise BadImage("has no pixels")
    return image


def _tiles(image: Image.Image, columns: int, rows: int, side: int) -> Pixels:
    """Row after row of tiles, and the whole behind them where it is more than one."""
    large = image.resize((columns * side, rows * side))
    corners = [(column * side, row * side) for row in range(rows) for column in range(columns)]
    parts = [large.crop((left, top, left + side, top + side)) for left, top in corners]
    if len(parts) > 1:
        parts.append(image.resize((side, side)))
    return np.stack([np.asarray(part.convert("RGB"), np.uint8).reshape(-1) for part in parts])

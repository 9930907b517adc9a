"""Image files for tests, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB image of noise."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def quarters(side: int) -> Image.Image:
    """Four squares of `side` pixels: red and green above blue and white."""
    image = Image.new("RGB", (2 * side, 2 * side))
    for place, colour in (((0, 0), "red"), ((side, 0), "lime"), ((0, side), "blue"), ((side, side), "white")):
        image.paste(Image.new("RGB", (side, side), colour), place)
    return image


def bomb(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that says it is `width` x `height`."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")

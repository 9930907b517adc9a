"""An image document through a whole service: HTTP, Pillow, shared memory and a real worker give the published forward's score."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import checkpoints
from tests.checkpoints import QUERY
from tests.live import serving
from tests.models.cases import FLOAT32, scale
from tests.models.test_images import SIDE, reference
from tests.unit.images.files import encoded, noise, quarters


def flat(*parts: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Tiles as the reference takes them."""
    return np.stack([np.asarray(part.convert("RGB")).reshape(-1) for part in parts])


def test_a_served_image_scores_as_the_reference(tmp_path: Path) -> None:
    """Text, an image of one tile and one of four and the whole, in one request and one by one, as tests/models has them."""
    directory = checkpoints.nemotron_vl(tmp_path / "model")
    single, square = noise(SIDE, SIDE), quarters(SIDE)
    corners = [square.crop((x, y, x + SIDE, y + SIDE)) for y in (0, SIDE) for x in (0, SIDE)]
    want = reference(["plain words", "", "beside text"], [None, flat(single), flat(*corners, square.resize((SIDE, SIDE)))])
    documents: list[Any] = [
        "plain words",
        {"image": base64.b64encode(encoded(single)).decode()},
        {"text": "beside text", "image": "data:image/png;base64," + base64.b64encode(encoded(square)).decode()},
    ]
    options = ("--model-name", "seeing", "--model-path", str(directory), "--device", "cpu", "--replicas", "1", "--dtype", "float32")
    with serving(*options, "--token-budget", "4096", "--image-queue-bytes", "1M", "--max-length", "256") as root:

        def scores(asked: list[Any]) -> list[float]:
            body = json.dumps({"query": QUERY, "documents": asked, "raw_scores": True}).encode()
            request = urllib.request.Request(f"{root}/rerank", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                results = json.load(answer)["results"]
            return [one["relevance_score"] for one in sorted(results, key=lambda one: one["index"])]

        np.testing.assert_allclose(scores(documents), want, atol=FLOAT32 * scale(want), rtol=0)
        alone = [scores([document])[0] for document in documents]
        np.testing.assert_allclose(alone, want, atol=FLOAT32 * scale(want), rtol=0)
        with urllib.request.urlopen(f"{root}/info", timeout=10) as info:
            assert json.load(info)["images"] is True

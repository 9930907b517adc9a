"""A model that reads images, served for text alone: its vision part is neither loaded nor given shared memory."""

from __future__ import annotations

from service import model_files
from service.images.gallery import SHARED_BYTES, shared_bytes
from tests.http.fakes import settings
from tests.models.cases import directory_of
from tests.models.test_images import NAME


def test_images_off_leave_the_vision_part_out() -> None:
    """RERANKER_IMAGES decides before any process is started, so that all of them agree."""
    told = {"model_name": "seeing", "model_path": str(directory_of(NAME))}
    (seeing,) = model_files.cards(settings(**told))
    (blind,) = model_files.cards(settings(**told, images="false"))
    assert seeing.family.pictures is not None
    assert blind.family.pictures is None
    assert shared_bytes(settings(), seeing) == SHARED_BYTES
    assert shared_bytes(settings(image_queue_bytes="1M"), seeing) == 1 << 20
    assert shared_bytes(settings(), blind) == 0


def test_seeing_is_weighed_by_the_models_sizes() -> None:
    """A tile costs its patches through the tower, in tokens of the language model, by the layers and widths that config.json says."""
    (seeing,) = model_files.cards(settings(model_name="seeing", model_path=str(directory_of(NAME))))
    assert seeing.family.pictures is not None
    assert seeing.family.pictures.side == 32
    assert seeing.family.pictures.tokens == 16
    # 64 patches through 2 layers of 16 * (4 * 16 + 3 * 24), where the language model has 2 of 32 * (4 * 32 + 3 * 48)
    assert seeing.family.pictures.cost == round(64 * 16 * (64 + 72) / (32 * (128 + 144)))

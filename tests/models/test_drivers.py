"""Why CUDA can't be used, in a line with its remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from batching.board import SLOT
from batching.errors import StartError
from batching.scoring.drivers import why_no_cuda
from batching.scoring.load import open_device


def failing(error: str) -> Callable[[], None]:
    """torch.cuda.init with such a machine under it."""

    def start() -> None:
        raise RuntimeError(error)

    return start


OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading and installing a new "
    "version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to install a PyTorch version"
)
NONE = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from http://www.nvidia.com"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OLD, ["too old", "CUDA 11.4", "CUDA 12.8", "update the driver"]),
        (NONE, ["no NVIDIA driver", "nvidia.com/gpu=all"]),
        ("CUDA driver initialization failed\nsecond line", ["CUDA driver initialization failed)", "nvidia-smi"]),
    ],
)
def test_what_torch_says_becomes_what_to_do(error: str, words: list[str]) -> None:
    """torch's texts, as they stand in its 2.x sources; the line fits the place that the board has for it."""
    told = why_no_cuda("12.8", failing(error))
    assert told
    assert all(word in told for word in [*words, "RERANKER_DEVICE=cpu"])
    assert len(f"device 'cuda:15' can't be used: {told}".encode()) <= SLOT["reason"].itemsize


def test_a_driver_that_starts_is_no_reason() -> None:
    """Nothing is told of what works."""
    assert why_no_cuda("12.8", lambda: None) is None


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_build_without_cuda() -> None:
    """A GPU asked of a CPU build."""
    with pytest.raises(StartError, match=r"'cuda:0' can't be used: torch .* is built without CUDA.*RERANKER_DEVICE=cpu"):
        open_device("cuda:0")

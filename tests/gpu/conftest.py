"""Every test below this folder needs CUDA, and says so where there is none."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def cuda() -> torch.device:
    """The first CUDA device; skips without one."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: torch.cuda.is_available() is False on this machine")
    return torch.device("cuda", 0)

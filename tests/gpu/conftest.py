"""Every test below this folder needs CUDA, and says so where there is none.

They run on machines with the packages those have, `python3 -m pytest tests/gpu -m gpu`: a warning of another release is shown, and no failure.
"""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("default")
    import torch

    from tests.models import cases  # what this imports warns here, and not while tests are collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Undo the suite's `filterwarnings = error`."""
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True)
def known(request: pytest.FixtureRequest) -> None:
    """Skip a family whose classes this release of transformers does not have yet."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    if name in cases.CASES:
        try:
            cases.directory_of(name)
        except AttributeError as error:
            if "transformers" not in str(error):
                raise
            pytest.skip(str(error))


@pytest.fixture(autouse=True)
def cuda() -> torch.device:
    """The first CUDA device; skips without one."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: torch.cuda.is_available() is False on this machine")
    return torch.device("cuda", 0)

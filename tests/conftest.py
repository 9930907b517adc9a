"""What every test may use: short-lived directories that sockets fit into, and Hypothesis without deadlines, since two cores are shared."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("rerankd", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
settings.load_profile("rerankd")


def pytest_collection_finish() -> None:
    """Tell the garbage collector that imports and tests stay: each full look through torch and thousands of tests takes most of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty directory whose path is short enough for Unix sockets, which pytest's own is not."""
    path = Path(tempfile.mkdtemp(prefix="rr-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)

"""Where the files of ops/ lie, and tools that are not in every machine: a test that lacks one says so and is skipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops"

PACKAGES = {
    "systemd-analyze": "systemd",
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "haproxy": "haproxy",
    "terraform": "terraform",
}


def tool(name: str) -> str:
    """Return the tool's path, or skip the test naming the Debian package that has it."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{name} is not installed (package {PACKAGES[name]})")
    return found

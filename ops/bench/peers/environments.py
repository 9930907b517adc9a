"""The peers' own virtual environments, made from PyPI with pip and kept until their list of packages changes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TORCH = "torch==2.13.0"
"""The same torch for everyone, so that ratios compare servers and not releases."""

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "common": (TORCH, "sentence-transformers", "fastapi", "uvicorn", "mosec", "onnx", "onnxruntime", "openvino"),
    # Infinity holds transformers below 5, so it needs a room of its own.
    "infinity": (TORCH, "infinity_emb[torch,server]==0.0.78"),
}


def python_of(name: str, directory: Path) -> Path:
    """Return an environment's Python, built first if it is missing or its list has changed. Raises CalledProcessError, KeyError."""
    requirements = ENVIRONMENTS[name]
    path = directory / name
    stamp = path / "complete"
    wanted = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
        shutil.rmtree(path, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(path)])
        _run([str(path / "bin" / "pip"), "install", "--quiet", *requirements])
        stamp.write_text(wanted, encoding="ascii")
    return path / "bin" / "python"


def versions_in(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Look up the versions of packages in another environment; those that are not there are left out."""
    found = {}
    for distribution in importlib.metadata.distributions(path=[str(path) for path in python.parents[1].glob("lib/python*/site-packages")]):
        name = distribution.metadata["Name"].lower().replace("_", "-")
        if name in packages:
            found[name] = distribution.version
    return found


def _run(command: list[str]) -> None:
    print(f"$ {' '.join(command)}", file=sys.stderr)
    subprocess.run(command, check=True, stdout=sys.stderr)

"""`rerankd list`, `verify` and `remove`, on models of our own layout and of the hub client's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batching.errors import StartError
from service import manifest, store
from service.models import aliases
from service.transfer import RemoteFile

Run = Callable[..., "subprocess.CompletedProcess[str]"]
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"\0" * 5000, "1_Pooling/config.json": b"{}"}
COMMIT = "f" * 40


def sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def ours(root: Path, name: str = "org/ours") -> Path:
    """A model as `rerankd download` leaves it."""
    for file, data in FILES.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    known = [RemoteFile(file, len(data), sha1=sha1(data)) for file, data in FILES.items()]
    manifest.write(root / name, name, COMMIT, known)
    return root / name


def hubs(root: Path, name: str = "org/hubs") -> Path:
    """A model as the hub's client leaves it: blobs by hash, and links to them by name."""
    repository = root / f"models--{name.replace('/', '--')}"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for file, data in FILES.items():
        digest = hashlib.sha256(data).hexdigest() if file.endswith(".safetensors") else sha1(data)
        (repository / "blobs" / digest).write_bytes(data)
        link = repository / "snapshots" / COMMIT / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(repository / "blobs" / digest)
    return repository


@pytest.fixture
def rerankd(tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "RERANKER_MODEL_CACHE_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
        command = [sys.executable, "-c", "from service.cli import main; main()", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=60)

    return run


def test_both_layouts_are_listed_and_verified(rerankd: Run, tmp_path: Path) -> None:
    """By name, with what is known of them, and every file is compared with its hash."""
    ours(tmp_path)
    hubs(tmp_path)
    (tmp_path / "org" / "half").mkdir()
    (tmp_path / "org" / "half" / "model.safetensors.part").write_bytes(b"x")
    found = [json.loads(line) for line in rerankd("list", "--json").stdout.splitlines()]
    assert [(one["model"], one["revision"], one["whole"], one["hub"]) for one in found] == [
        ("org/half", "", False, False),
        ("org/hubs", COMMIT, True, True),
        ("org/ours", COMMIT, True, False),
    ]
    assert "unfinished" in rerankd("list").stdout
    done = rerankd("verify", "org/ours", "org/hubs")
    assert (done.returncode, done.stdout.count("3 files, 0.0 MB, as they came")) == (0, 2), done.stderr


@pytest.mark.parametrize("make", [ours, hubs], ids=["ours", "hubs"])
def test_a_changed_file_is_found(rerankd: Run, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """One bit is enough, and the exit code says it."""
    directory = make(tmp_path)
    weights = next(path for path in directory.rglob("*") if path.name == "model.safetensors")
    weights.resolve().write_bytes(b"\0" * 4999 + b"\1")
    done = rerankd("verify", f"org/{make.__name__}")
    assert done.returncode == 1
    assert "damaged or missing: model.safetensors" in done.stdout
    assert done.stderr.startswith("rerankd: not as they were")


@pytest.mark.parametrize("make", [ours, hubs], ids=["ours", "hubs"])
def test_a_removed_model_is_gone_and_its_neighbours_stay(rerankd: Run, tmp_path: Path, make: Callable[..., Path]) -> None:
    """Its directory with it, and nothing else."""
    directory, neighbour = make(tmp_path), ours(tmp_path, "other/model")
    name = f"org/{make.__name__}"
    assert rerankd("remove", name).returncode != 0, "it asks first, and nobody said yes"
    assert directory.exists()
    done = rerankd("remove", name, "--yes")
    assert done.returncode == 0, done.stderr
    assert not directory.exists()
    assert neighbour.exists()
    gone = rerankd("remove", name, "--yes")
    assert (gone.returncode, "there: other/model" in gone.stderr) == (1, True)


def test_nothing_is_deleted_outside_the_cache(rerankd: Run, tmp_path: Path) -> None:
    """Only what `list` shows can be removed, whatever path is given."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    ours(outside, "model")
    for name in ("..", f"../{outside.name}/model", str(outside / "model"), ""):
        assert rerankd("remove", name, "--yes").returncode == 1
    assert (outside / "model" / "config.json").exists()


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    """And not taken for an empty one."""
    directory = ours(tmp_path)
    (directory / manifest.FILE).write_text("{")
    with pytest.raises(StartError, match="damaged"):
        manifest.known_files(directory)


def test_where_a_name_leads(tmp_path: Path) -> None:
    """A directory below the cache, one for each pinned revision; nowhere else."""
    cache = str(tmp_path)
    assert store.place("org/name", cache) == tmp_path / "org" / "name"
    assert store.place("org/name@v1.0", cache) == tmp_path / "org" / "name@v1.0"
    assert store.place("org/name@refs/pr/1", cache) == tmp_path / "org" / "name@refs--pr--1"
    for name in ("", "..", "../x", "org/../../x", "/etc", "org//x", "@v1"):
        with pytest.raises(StartError, match="no model name"):
            store.place(name, cache)
    assert aliases("org/name@v1.0") == {"org/name@v1.0", "name@v1.0", "org/name", "name"}

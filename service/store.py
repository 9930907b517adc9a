"""The models on this machine that came from a hub: ours, a plain directory each, and those of the hub's own client, which are served too.

Knows no hub, so that listing, verifying and removing need none. What a download knew of its files is `manifest`'s.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from batching.errors import StartError
from service import manifest
from service.settings import PREFIX
from service.transfer import PART

SIGN = "config.json"
"""Comes last: where it is, the model is whole."""
_HUB_PREFIX = "models--"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is here. `size` in bytes; `revision` the commit, where it is known; `hub`: the hub's client keeps it."""

    model: str
    directory: Path
    revision: str
    size: int
    whole: bool
    hub: bool


def split_name(name: str) -> tuple[str, str | None]:
    """Return a model's repository and revision out of `repository@revision`."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def own_cache(cache: str | None) -> Path:
    """Return where our own downloads are kept: MODEL_CACHE_DIR, else beside the hub's client's cache."""
    return Path(cache).expanduser() if cache else _hub_home() / "rerankd"


def place(name: str, cache: str | None) -> Path:
    """Return the directory that a model is downloaded to. Raises StartError for a name that leads elsewhere."""
    repository, revision = split_name(name)
    if any(part in {"", ".", ".."} for part in repository.split("/")):
        raise StartError(f"{name!r} is no model name")
    return own_cache(cache) / (repository if revision is None else f"{repository}@{revision.replace('/', '--')}")


def kept(cache: str | None) -> list[Kept]:
    """Return every model that is here, by name, unfinished ones too. Raises StartError where this user may not look."""
    try:
        return sorted((*_ours(own_cache(cache)), *_hubs(_hub_cache(cache))), key=lambda one: (one.model, one.revision))
    except PermissionError as error:
        raise StartError(closed(error, "read")) from error


def closed(error: PermissionError, use: str) -> str:
    """Return what is said of a cache into which this user may not look, and must `use`."""
    return f"{error.filename} can't be looked at ({error.strerror}); set {PREFIX}MODEL_CACHE_DIR to a directory that this user may {use}"


def find(name: str, cache: str | None) -> Kept:
    """Return the model of this name; a whole one before an unfinished one. Raises StartError that names those that are here."""
    found = kept(cache)
    named = sorted((one for one in found if one.model == name), key=lambda one: not one.whole)
    if not named:
        there = ", ".join(dict.fromkeys(one.model for one in found)) or "none"
        raise StartError(f"{name!r} was not downloaded to this machine; there: {there}")
    return named[0]


def remove(one: Kept, cache: str | None) -> None:
    """Delete a model that `kept` found, and the directory of its owner if it was the last."""
    if one.hub:
        shutil.rmtree(one.directory.parent.parent)
        return
    shutil.rmtree(one.directory)
    parent = one.directory.parent
    if parent != own_cache(cache) and not any(parent.iterdir()):
        parent.rmdir()


def _ours(root: Path) -> Iterator[Kept]:
    marks = {path.parent for mark in (SIGN, manifest.FILE, f"*{PART}") for depth in ("*", "*/*") for path in root.glob(f"{depth}/{mark}")}
    for directory in marks:
        if directory.parent in marks or directory.parts[len(root.parts)].startswith(_HUB_PREFIX):
            continue
        try:
            known = manifest.read(directory)
        except StartError:
            known = None  # `verify` tells; here it is still a model
        whole = (directory / SIGN).is_file() and not any(directory.rglob(f"*{PART}"))
        revision = known.revision if known else ""
        model = known.model if known else directory.relative_to(root).as_posix()
        yield Kept(model=model, directory=directory, revision=revision, size=_size(directory), whole=whole, hub=False)


def _hubs(root: Path) -> Iterator[Kept]:
    for snapshot in root.glob(f"{_HUB_PREFIX}*/snapshots/*"):
        model = snapshot.parent.parent.name.removeprefix(_HUB_PREFIX).replace("--", "/")
        whole = (snapshot / SIGN).is_file() and any(snapshot.rglob("*.safetensors"))
        yield Kept(model=model, directory=snapshot, revision=snapshot.name, size=_size(snapshot), whole=whole, hub=True)


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _hub_home() -> Path:
    general = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{general}/huggingface").expanduser()


def _hub_cache(cache: str | None) -> Path:
    return Path(cache or os.environ.get("HF_HUB_CACHE") or _hub_home() / "hub").expanduser()

"""One file from a hub to disk: resumed where it broke off, by this run or an earlier one, and verified before it gets its name.

A file is written as `NAME.part`; only when its size and hash are the hub's is it renamed. What has its name is whole.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec

from batching.errors import StartError

PART = ".part"
CHUNK = 1 << 20
TRIES = 5
BACKOFF_S = 0.5

Tell = Callable[[int], None]
"""Told how many bytes of the file are there."""


class RemoteFile(msgspec.Struct, frozen=True):
    """A file as the hub describes it. `sha256` of large files, `sha1` (git's) of small ones."""

    name: str
    size: int
    sha256: str = ""
    sha1: str = ""


def fetch_file(client: httpx.Client, url: str, target: Path, file: RemoteFile, tell: Tell) -> None:
    """Bring `target` about. Raises StartError when what came is damaged, httpx.HTTPError when it would not come."""
    if is_whole(target, file):
        tell(file.size)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + PART)
    for left in reversed(range(TRIES)):
        try:
            _bring(client, url, part, file, tell)
            break
        except httpx.TransportError:
            if not left:
                raise
            time.sleep(BACKOFF_S * 2 ** (TRIES - left))
    if not is_whole(part, file):
        part.unlink(missing_ok=True)
        raise StartError(f"{file.name} came damaged and was removed; run the same command again")
    part.replace(target)


def _bring(client: httpx.Client, url: str, part: Path, file: RemoteFile, tell: Tell) -> None:
    """Fetch what is missing, again and again while it brings something. Raises httpx.TransportError when a try brought nothing."""
    part.touch()
    while (there := part.stat().st_size) < file.size:
        try:
            _go_on(client, url, part, there, tell)
        except httpx.TransportError:
            if part.stat().st_size <= there:
                raise
        if part.stat().st_size <= there:
            raise httpx.ReadError(f"{file.name} ended after {there} of {file.size} bytes")


def _go_on(client: httpx.Client, url: str, part: Path, there: int, tell: Tell) -> None:
    asked = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {})}
    with client.stream("GET", url, headers=asked) as answer:
        answer.raise_for_status()
        going_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
        there = there if going_on else 0
        with part.open("ab" if going_on else "wb") as out:
            for chunk in answer.iter_raw():
                out.write(chunk)
                there += len(chunk)
                tell(there)


def described(directory: Path, name: str) -> RemoteFile:
    """Return a file as it lies on disk, as a hub would describe it."""
    path = directory / name
    return RemoteFile(name, path.stat().st_size, sha256=_digest(path, hashlib.sha256()))


def is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether a file is there as the hub describes it, by size and hash."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _digest(path, hashlib.sha256()) == file.sha256
    git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    return not file.sha1 or _digest(path, git) == file.sha1


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

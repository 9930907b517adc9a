"""What a downloaded model's files were when they came: written beside them, so that `rerankd verify` can tell later, without a network.

Copies that the hub's own client made carry the same knowledge in the names of its blobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from batching.errors import StartError
from service.transfer import PART, RemoteFile, is_whole

FILE = ".rerankd.json"
_SHA256, _SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it was fetched; `revision` is the hub's commit."""

    model: str
    revision: str
    files: list[RemoteFile]


def write(directory: Path, model: str, revision: str, files: Iterable[RemoteFile]) -> None:
    """Remember what was fetched into `directory`; whole or not at all."""
    made = Manifest(model=model, revision=revision, files=sorted(files, key=lambda file: file.name))
    part = directory / (FILE + PART)
    part.write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    part.replace(directory / FILE)


def read(directory: Path) -> Manifest | None:
    """Return what was fetched into `directory`, None where nobody wrote it down. Raises StartError for a damaged file."""
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise StartError(f"{path} is damaged ({error}); fetch the model again") from error


def known_files(directory: Path) -> list[RemoteFile]:
    """Return what the files of a model should be; none where that is not known. Raises StartError."""
    found = read(directory)
    return found.files if found else list(_blobs(directory))


def damaged(directory: Path, files: Iterable[RemoteFile]) -> list[str]:
    """Return the names of files that are missing or are not what they were; reads all of them."""
    return [file.name for file in files if not is_whole(directory / file.name, file)]


def _blobs(directory: Path) -> Iterator[RemoteFile]:
    """The hub client's snapshots are links to blobs that are named by their hash: SHA-256 of large files, git's SHA-1 of small ones."""
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() and path.is_file():
            blob, size = path.resolve().name, path.stat().st_size
            name = path.relative_to(directory).as_posix()
            if _SHA256.fullmatch(blob):
                yield RemoteFile(name, size, sha256=blob)
            elif _SHA1.fullmatch(blob):
                yield RemoteFile(name, size, sha1=blob)

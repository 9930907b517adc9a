"""Fetching models from a Hugging Face hub: only the files that are served, resumed where it broke off, verified against the hub's hashes.

Code and pickles in a repository are never fetched: weights are safetensors or nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

# Must be known before the hub's client is imported: a log file wants no progress bars, and nobody wants telemetry.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if not sys.stderr.isatty():
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import huggingface_hub
from huggingface_hub import errors as hub_errors

from batching.errors import StartError
from service.settings import PREFIX

log = logging.getLogger("rerankd.download")

WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
UNWANTED = ("onnx/*", "openvino/*", "coreml/*", "original/*", ".*")
WEIGHTS = ".safetensors"
_CHUNK = 1 << 20


class RemoteFile(msgspec.Struct, frozen=True):
    """A file as the hub describes it. `sha256` of large files, `sha1` (git's) of small ones."""

    name: str
    size: int
    sha256: str = ""
    sha1: str = ""


def cached_or_fetched(name: str, cache: str | None, *, offline: bool) -> Path:
    """Return the directory of a hub model: from the hub's cache, else downloaded. Raises StartError."""
    kept = cached(name, cache)
    if kept is not None:
        return kept
    if offline or huggingface_hub.constants.HF_HUB_OFFLINE:
        raise StartError(
            f"{name} is not on this machine and {PREFIX}USE_OFFLINE_MODE is set; fetch it elsewhere with "
            f"`rerankd download {name} DIR`, copy DIR here and set {PREFIX}MODEL_PATH"
        )
    log.info("downloading %s", name)
    return fetch(name, cache=cache)


def cached(name: str, cache: str | None) -> Path | None:
    """Return a complete copy in the hub's cache, None without one."""
    try:
        found = huggingface_hub.snapshot_download(name, cache_dir=cache, local_files_only=True, allow_patterns=list(WANTED))
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError):
        return None
    directory = Path(found)
    complete = (directory / "config.json").exists() and any(directory.rglob(f"*{WEIGHTS}"))
    return directory if complete else None


def fetch(name: str, *, revision: str | None = None, directory: Path | None = None, cache: str | None = None) -> Path:
    """Download a model into `directory`, or into the hub's cache, and verify it. Raises StartError."""
    with _told(name):
        info = huggingface_hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        files = wanted(
            RemoteFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else "", one.blob_id or "") for one in info.siblings or ()
        )
        check_weights(name, files)
        log.info("%s: %d files, %.1f MB", name, len(files), sum(one.size for one in files) / 1e6)
        found = huggingface_hub.snapshot_download(
            name, revision=info.sha, local_dir=directory, cache_dir=cache, allow_patterns=[one.name for one in files]
        )
    verify(Path(found), files)
    return Path(found)


def wanted(files: Iterator[RemoteFile]) -> list[RemoteFile]:
    """Return the files that serving needs."""
    return [one for one in files if _matches(one.name, WANTED) and not _matches(one.name, UNWANTED)]


def check_weights(name: str, files: list[RemoteFile]) -> None:
    """Raise StartError for a repository without weights that can be loaded safely."""
    if not any(one.name.endswith(WEIGHTS) for one in files):
        raise StartError(f"{name} has no safetensors weights; pickled ones are not loaded, since loading them runs whatever code they hold")


def verify(directory: Path, files: list[RemoteFile]) -> None:
    """Compare every file with what the hub said of it. Raises StartError naming those that differ, which are removed."""
    bad = [one for one in files if not _same(directory / one.name, one)]
    for one in bad:
        (directory / one.name).unlink(missing_ok=True)
    if bad:
        raise StartError(f"{', '.join(one.name for one in bad)} in {directory} came damaged and was removed; run the same command again")


def _same(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _digest(path, hashlib.sha256()) == file.sha256
    git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    return not file.sha1 or _digest(path, git) == file.sha1


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    from fnmatch import fnmatch

    return any(fnmatch(name, pattern) for pattern in patterns)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn the hub client's errors into one line that says what to do."""
    try:
        yield
    except hub_errors.GatedRepoError:
        raise StartError(f"{name} asks its users to accept its terms first: do so on its page and set HF_TOKEN") from None
    except hub_errors.RepositoryNotFoundError:
        raise StartError(f"the hub knows no model {name!r}; a private one needs HF_TOKEN, a directory needs a path like ./{name}") from None
    except hub_errors.HFValidationError as error:
        raise StartError(f"{name!r} is no model name: {error}") from None
    except (hub_errors.HfHubHTTPError, hub_errors.LocalEntryNotFoundError, _transport_error(), OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StartError(
            f"{name} could not be downloaded: {reason}; what was fetched is kept, so run the same again; --model starter needs no hub"
        ) from error


def _transport_error() -> type[Exception]:
    """The base of errors of whichever HTTP library the hub's client was built on."""
    library = sys.modules[type(huggingface_hub.get_session()).__module__.partition(".")[0]]
    error: type[Exception] = library.HTTPError
    return error

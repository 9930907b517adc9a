"""Fetching models from a Hugging Face hub: which files, from where, to where, and what went wrong in one line.

Code in a repository is never fetched, and pickled weights only to be converted, by a process of its own: what is served is safetensors.
How one file comes over is `transfer`'s, where a model is kept `store`'s.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import build_hf_headers

from batching.errors import StartError
from service import manifest, store
from service.settings import PREFIX
from service.store import SIGN
from service.transfer import PART, RemoteFile, described, fetch_file

log = logging.getLogger("rerankd.download")

WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "artifact.metadata")
UNWANTED = ("onnx/*", "openvino/*", "coreml/*", "original/*", ".*")
WEIGHTS = ".safetensors"
PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")
SPARE_BYTES = 16 << 20
"""Of the disk, left free."""
TIMEOUT_S = 30.0

Tell = Callable[[RemoteFile, int], None]
"""Told a file and how many of its bytes are there."""


def cached_or_fetched(name: str, cache: str | None, *, offline: bool, tell: Tell) -> Path:
    """Return the directory of a hub model: from a cache, else downloaded. Raises StartError."""
    kept = cached(name, cache)
    if kept is not None:
        return kept
    if offline or huggingface_hub.constants.HF_HUB_OFFLINE:
        raise StartError(
            f"{name} is not on this machine and {PREFIX}USE_OFFLINE_MODE is set; fetch it elsewhere with "
            f"`rerankd download {name} DIR`, copy DIR here and set {PREFIX}MODEL_PATH"
        )
    log.info("downloading %s", name)
    return fetch(name, store.place(name, cache), tell=tell)


def cached(name: str, cache: str | None) -> Path | None:
    """Return a complete copy, ours or the hub's client's; None without one."""
    ours = store.place(name, cache)
    if (ours / SIGN).is_file():
        return ours
    repository, revision = store.split_name(name)
    try:
        found = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, cache_dir=cache, local_files_only=True, allow_patterns=list(WANTED)
            )
        )
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError):
        return None
    return found if (found / SIGN).exists() and any(found.rglob(f"*{WEIGHTS}")) else None


def fetch(name: str, directory: Path, *, tell: Tell, convert: bool = False) -> Path:
    """Download `repository` or `repository@revision` into `directory`, going on where an earlier run stopped, every file verified.

    With `convert`, pickled weights are fetched where there are no others, and made into safetensors. Raises StartError.
    """
    repository, revision = store.split_name(name)
    with _told(name):
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
        there = [_remote(one) for one in info.siblings or ()]
        files = wanted(there)
        pickles = [] if any(one.name.endswith(WEIGHTS) for one in files) else [one for one in there if _matches(one.name, PICKLES)]
        check_weights(name, files, pickles, convert=convert)
        check_room(directory, files + pickles, twice=sum(one.size for one in pickles))
        log.info("%s: %d files, %.1f MB into %s", name, len(files), sum(one.size for one in files + pickles) / 1e6, directory)
        with httpx.Client(headers=build_hf_headers(), follow_redirects=True, timeout=TIMEOUT_S) as client:

            def bring(file: RemoteFile) -> None:
                url = huggingface_hub.hf_hub_url(repository, file.name, revision=info.sha)
                fetch_file(client, url, directory / file.name, file, partial(tell, file))

            for file in files[:-1] + pickles:
                bring(file)
            made = converted(name, directory, pickles) if pickles else []
            manifest.write(directory, name, info.sha or "", files + made)
            bring(files[-1])
    return directory


def converted(name: str, directory: Path, pickles: list[RemoteFile]) -> list[RemoteFile]:
    """Make safetensors of pickled weights in a child process, and delete the pickles. Raises StartError when they hold anything else."""
    command = [sys.executable, "-m", "batching.scoring.convert", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["the converter crashed"])[-1]
        for file in pickles:
            (directory / file.name).unlink(missing_ok=True)
        raise StartError(f"{name}: its pickled weights were not converted, and are removed: {reason}")
    for file in pickles:
        (directory / file.name).unlink()
    return [described(directory, made) for made in msgspec.json.decode(done.stdout, type=list[str])]


def wanted(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return the files that serving needs, the sign of completeness last."""
    found = [one for one in files if _matches(one.name, WANTED) and not _matches(one.name, UNWANTED)]
    return sorted(found, key=lambda one: one.name == SIGN)


def check_weights(name: str, files: list[RemoteFile], pickles: list[RemoteFile], *, convert: bool) -> None:
    """Raise StartError for a repository that can't be served: without its configuration, or without weights that can be loaded safely."""
    if not files or files[-1].name != SIGN:
        raise StartError(f"{name} has no {SIGN}: it is no model that can be served")
    if any(part in {"", ".."} for one in files for part in one.name.split("/")):
        raise StartError(f"{name} has files that would lead out of its directory")
    if any(one.name.endswith(WEIGHTS) for one in files) or (pickles and convert):
        return
    remedy = f"; `rerankd download --convert {name}` makes safetensors of them" if pickles else ""
    raise StartError(
        f"{name} has no safetensors weights; pickled ones are not loaded, since loading them may run whatever code they hold{remedy}"
    )


def check_room(directory: Path, files: list[RemoteFile], twice: int = 0) -> None:
    """Raise StartError when the disk can't hold what is missing; `twice`: bytes that are needed again to convert."""
    there = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
    missing = twice + sum(max(0, one.size - _present(directory / one.name)) for one in files)
    free = shutil.disk_usage(there).free
    if missing + SPARE_BYTES > free:
        needed = f"needs {missing / 1e9:.2f} GB more and has {free / 1e9:.2f} GB free"
        raise StartError(f"the disk of {directory} {needed}; make room, or set {PREFIX}MODEL_CACHE_DIR to another")


def _present(path: Path) -> int:
    part = path.with_name(path.name + PART)
    return max((one.stat().st_size for one in (path, part) if one.is_file()), default=0)


def _remote(one: Any) -> RemoteFile:
    return RemoteFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else "", one.blob_id or "")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn the hub's and its client's errors into one line that says what to do."""
    try:
        yield
    except hub_errors.GatedRepoError:
        raise StartError(f"{name} asks its users to accept its terms first: do so on its page and set HF_TOKEN") from None
    except hub_errors.RepositoryNotFoundError:
        raise StartError(f"the hub knows no model {name!r}; a private one needs HF_TOKEN, a directory needs a path like ./{name}") from None
    except hub_errors.HFValidationError as error:
        raise StartError(f"{name!r} is no model name: {error}") from None
    except (hub_errors.HfHubHTTPError, httpx.HTTPError, _transport_error(), OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StartError(
            f"{name} could not be downloaded: {reason}; what was fetched is kept, so run the same again; --model starter needs no hub"
        ) from error


def _transport_error() -> type[Exception]:
    """The base of errors of whichever HTTP library the hub's client was built on."""
    library = sys.modules[type(huggingface_hub.get_session()).__module__.partition(".")[0]]
    error: type[Exception] = library.HTTPError
    return error

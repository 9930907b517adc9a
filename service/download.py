"""Fetching models from a Hugging Face hub: which files, from where, to where, and what went wrong in one line.

Code and pickles in a repository are never fetched: weights are safetensors or nothing. How one file comes over is `transfer`'s.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import httpx

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils import build_hf_headers

from batching.errors import StartError
from service.settings import PREFIX
from service.transfer import RemoteFile, fetch_file

log = logging.getLogger("rerankd.download")

WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
UNWANTED = ("onnx/*", "openvino/*", "coreml/*", "original/*", ".*")
WEIGHTS = ".safetensors"
SIGN = "config.json"
"""Fetched last: where it is, the model is whole."""
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
    return fetch(name, own_cache(cache) / name, tell=tell)


def own_cache(cache: str | None) -> Path:
    """Return where our own downloads are kept: a plain directory per model, beside the hub's cache unless told otherwise."""
    return Path(cache) if cache else Path(huggingface_hub.constants.HF_HOME) / "rerankd"


def cached(name: str, cache: str | None) -> Path | None:
    """Return a complete copy, ours or the hub's client's; None without one."""
    ours = own_cache(cache) / name
    if (ours / SIGN).is_file():
        return ours
    try:
        found = Path(huggingface_hub.snapshot_download(name, cache_dir=cache, local_files_only=True, allow_patterns=list(WANTED)))
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HFValidationError):
        return None
    return found if (found / SIGN).exists() and any(found.rglob(f"*{WEIGHTS}")) else None


def fetch(name: str, directory: Path, *, revision: str | None = None, tell: Tell) -> Path:
    """Download a model into `directory`, going on where an earlier run stopped, every file verified. Raises StartError."""
    with _told(name):
        info = huggingface_hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        files = wanted(_remote(one) for one in info.siblings or ())
        check_weights(name, files)
        log.info("%s: %d files, %.1f MB into %s", name, len(files), sum(one.size for one in files) / 1e6, directory)
        with httpx.Client(headers=build_hf_headers(), follow_redirects=True, timeout=TIMEOUT_S) as client:
            for file in files:
                url = huggingface_hub.hf_hub_url(name, file.name, revision=info.sha)
                fetch_file(client, url, directory / file.name, file, partial(tell, file))
    return directory


def wanted(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Return the files that serving needs, the sign of completeness last."""
    found = [one for one in files if _matches(one.name, WANTED) and not _matches(one.name, UNWANTED)]
    return sorted(found, key=lambda one: one.name == SIGN)


def check_weights(name: str, files: list[RemoteFile]) -> None:
    """Raise StartError for a repository without weights that can be loaded safely."""
    if not any(one.name.endswith(WEIGHTS) for one in files):
        raise StartError(f"{name} has no safetensors weights; pickled ones are not loaded, since loading them runs whatever code they hold")


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

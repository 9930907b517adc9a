"""What would make a start fail later, in a child process and over and over, is looked for before anything is started: told in one line."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from batching import memory
from batching.errors import SettingError, StartError
from batching.families.card import ModelCard
from service.auth import KeyRing
from service.settings import PREFIX, Settings

log = logging.getLogger("rerankd.preflight")

WORKER_BYTES = 250_000_000
"""What a worker takes before its model, rather too little: torch and transformers hold 286 MB, 391 MB with pages of files."""
SIZES = {"float32": 4, "bfloat16": 2, "float16": 2, "float8": 1, "int8": 1}
"""Bytes of a number: weights that are stored in two and computed in four take twice the file's size."""


def check(settings: Settings) -> None:
    """Read the files that settings name; warn of a key file without keys. Raises SettingError."""
    keys = KeyRing(settings)
    if keys.closed and not keys.names:
        log.warning("%sAPI_KEYS_FILE=%r holds no key: every caller is refused (401)", PREFIX, settings.api_keys_file)
    if settings.tls_cert and settings.tls_key:
        _check_tls(settings.tls_cert, settings.tls_key)


def _check_tls(certificate: str, key: str) -> None:
    for name, file in (("TLS_CERT", certificate), ("TLS_KEY", key)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise SettingError(f"{PREFIX}{name}={file!r} cannot be read: {error.strerror}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")  # nobody is here to type one
    except (ssl.SSLError, ValueError) as error:
        raise SettingError(
            f"{PREFIX}TLS_CERT={certificate!r} and {PREFIX}TLS_KEY={key!r} are no PEM certificate and its unlocked key ({error})"
        ) from error


def needed_bytes(card: ModelCard, dtype: str) -> int:
    """Memory of one worker on the CPU, at the least: its weights as they are computed with, and what a worker is without them."""
    stored = str(card.config.get("dtype") or card.config.get("torch_dtype") or "float32").removeprefix("torch.")
    return card.weights_bytes * SIZES.get(dtype, 4) // SIZES.get(stored, 4) + WORKER_BYTES


def check_memory(card: ModelCard, settings: Settings, device: str, found: memory.Memory | None = None) -> None:
    """Compare a model on the CPU with the memory that may be had. Raises StartError; a GPU's memory is its worker's to ask for."""
    found = found or memory.host()
    if device != "cpu":
        return
    needed = needed_bytes(card, settings.scoring_dtype(device))
    if needed > found.free:
        smaller = "set RERANKER_DTYPE=bfloat16, " if needed_bytes(card, "bfloat16") <= found.free else ""
        raise StartError(
            f"{card.name} needs about {_gb(needed)} of memory and {_gb(found.free)} of {_gb(found.total)} are free: "
            f"{smaller}free some, raise the container's limit, or choose a smaller model"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"

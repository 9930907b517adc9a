"""Where settings come from, and which source wins: command line, RERANKER_* environment, RERANKER_* in .env, plain aliases, default."""

from __future__ import annotations

import difflib
import io
import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from batching.errors import SettingError
from service.settings import PREFIX, Settings
from service.settings_parse import Declared, allowed, declared, parse

# Kubernetes puts RERANKER_PORT=tcp://10.0.0.1:8000 and more into every pod beside a Service that is named "reranker".
_SERVICE_LINK = re.compile(PREFIX + r"(SERVICE_(HOST|PORT)\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def load_settings(
    environ: Mapping[str, str], overrides: Mapping[str, str | None] | None = None, dotenv: Mapping[str, str | None] | None = None
) -> Settings:
    """Return the checked settings.

    `overrides`: texts by field name, from the command line; `dotenv`: the pairs of a `.env` file. An empty text counts as not set.
    Raises SettingError that names the variable, its value and its range.
    """
    overrides, dotenv = overrides or {}, dotenv or {}
    values: dict[str, Any] = {}
    for setting in declared().values():
        found = _find(setting, environ, overrides, dotenv)
        if found is not None:
            source, text = found
            values[setting.name] = parse(setting, text, source)
    settings = Settings(**values)
    _check_together(settings)
    return settings


def read_dotenv(path: Path) -> dict[str, str | None]:
    """Return the pairs of a `.env` file as they stand, none where there is no such file. Raises SettingError that names file and line."""
    try:
        if not path.is_file():
            return {}
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingError(f"{path} cannot be read: {reason}") from None
    from dotenv.parser import parse_stream  # costs start-up time that most starts don't need

    found = list(parse_stream(io.StringIO(text)))
    for binding in found:
        if binding.error:  # going on without it would serve with a default
            told = binding.original.string
            line = binding.original.line + told[: len(told) - len(told.lstrip())].count("\n")
            raise SettingError(f"{path}, line {line}: it takes NAME=value, with a closing quote where there is an opening one")
    return {binding.key: binding.value for binding in found if binding.key is not None}


def unknown_variables(environ: Mapping[str, str], dotenv: Mapping[str, str | None] | None = None) -> list[str]:
    """Return a warning for every RERANKER_* variable that is no setting, with the nearest name where there is one."""
    known = [setting.variable for setting in declared().values()]
    strangers = sorted(name for name in {*environ, *(dotenv or {})} if name.startswith(PREFIX) and name not in known)
    return [_stranger(name, known) for name in strangers if not _SERVICE_LINK.fullmatch(name)]


def without_effect(settings: Settings) -> list[str]:
    """Return a warning for every setting that was given and does nothing without another."""
    idle = {
        "IMAGE_NETWORKS": (
            bool(settings.image_networks and not settings.image_hosts),
            "IMAGE_HOSTS, without which no image URL is fetched",
        ),
        "SCORE_CACHE_PER_KEY": (settings.score_cache_per_key and not settings.score_cache_bytes, "SCORE_CACHE_BYTES over 0"),
        "LOG_TEXT": (settings.log_text and settings.log_level != "debug", "LOG_LEVEL=debug"),
        "TLS_MIN": (settings.tls_min != Settings().tls_min and not settings.tls_cert, "TLS_CERT and TLS_KEY"),
    }
    return [f"{PREFIX}{name} has no effect: it needs {PREFIX}{needs}" for name, (given, needs) in idle.items() if given]


def to_json(settings: Settings) -> bytes:
    """Return the settings for a child process; keys travel hashed."""
    return msgspec.json.encode(settings)


def from_json(data: bytes | str) -> Settings:
    """Return the settings that `to_json` wrote. Raises msgspec.ValidationError where they don't fit the declaration."""
    return msgspec.json.decode(data, type=Settings)


def _find(
    setting: Declared, environ: Mapping[str, str], overrides: Mapping[str, str | None], dotenv: Mapping[str, str | None]
) -> tuple[str, str] | None:
    for source, text in _candidates(setting, environ, overrides, dotenv):
        if text is None or not text.strip():
            continue
        if setting.name == "port" and _SERVICE_ADDRESS.match(text):
            continue
        return source, text
    return None


def _candidates(
    setting: Declared, environ: Mapping[str, str], overrides: Mapping[str, str | None], dotenv: Mapping[str, str | None]
) -> Iterator[tuple[str, str | None]]:
    yield setting.option, overrides.get(setting.name)
    for name in (setting.variable, *setting.aliases):
        yield name, environ.get(name)
        yield f"{name} (.env)", dotenv.get(name)


def _stranger(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.removeprefix(PREFIX), [other.removeprefix(PREFIX) for other in known], n=1, cutoff=0.7)
    return f"{name} is no setting and is ignored" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")


def _check_together(settings: Settings) -> None:
    _check_networks(settings.image_networks)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        lacking = "TLS_KEY" if settings.tls_key is None else "TLS_CERT"
        raise SettingError(f"{PREFIX}{lacking} is not set: TLS needs both {PREFIX}TLS_CERT and {PREFIX}TLS_KEY")
    if settings.metrics_auth and not (settings.api_key or settings.api_keys_file):
        raise SettingError(f"{PREFIX}METRICS_AUTH=true would protect nothing: it needs {PREFIX}API_KEY or {PREFIX}API_KEYS_FILE")
    if len(settings.model_path) > len(settings.model_name):
        count = f"{len(settings.model_path)} directories for {len(settings.model_name)} models"
        raise SettingError(f"{PREFIX}MODEL_PATH={','.join(settings.model_path)!r} names {count} of {PREFIX}MODEL_NAME")
    if len(set(settings.model_name)) < len(settings.model_name):
        raise SettingError(f"{PREFIX}MODEL_NAME={','.join(settings.model_name)!r} names a model twice; REPLICAS makes copies")
    if len(set(settings.device)) < len(settings.device) or ("auto" in settings.device and len(settings.device) > 1):
        named = ",".join(settings.device)
        raise SettingError(f"{PREFIX}DEVICE={named!r} names a device twice, or auto beside others; REPLICAS makes copies")


def _check_networks(networks: tuple[str, ...]) -> None:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            reason = f"it takes {allowed(declared()['image_networks'])}; {error}"
            raise SettingError(f"{PREFIX}IMAGE_NETWORKS={','.join(networks)!r} is not allowed: {reason}") from None

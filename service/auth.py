"""Who is asking: keys kept as hashes, compared in constant time, reloadable while serving.

Keys come from the API_KEY setting and from a file; `rate_limits.py` says how much each may ask. No HTTP framework here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from batching.errors import SettingError, Unauthorized
from service.settings import Settings
from service.settings_parse import HASH, hash_key

_SCHEMES = ("bearer ", "token ", "apikey ")


class Key(msgspec.Struct, frozen=True):
    """A key that is let in. `digest` is the SHA-256 of its text; `name` is what metrics and logs call it."""

    name: str
    digest: bytes


class KeyRing:
    """All keys; open to anyone while it holds none."""

    def __init__(self, settings: Settings) -> None:
        self._fixed = tuple(_named("", text) for text in settings.api_key)
        self._path = Path(settings.api_keys_file) if settings.api_keys_file else None
        self._keys: tuple[Key, ...] = ()
        self.reload()

    def __repr__(self) -> str:
        return f"<KeyRing {len(self._keys)} keys>"

    @property
    def closed(self) -> bool:
        """Whether a key must be shown."""
        return bool(self._keys) or self._path is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The keys' names."""
        return tuple(key.name for key in self._keys)

    def reload(self) -> None:
        """Read the file again. Raises SettingError, and keeps the keys it had, when the file can't be read."""
        self._keys = (*self._fixed, *(read_keys(self._path) if self._path else ()))

    def admit(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key that was shown, None where none is asked for. Raises Unauthorized."""
        if not self.closed:
            return None
        shown = [hashlib.sha256(text.encode("latin-1", "replace")).digest() for text in shown_keys(headers)]
        if not shown:
            raise Unauthorized("no API key was given: send Authorization: Bearer KEY")
        found = None
        for digest in reversed(shown):
            for key in self._keys:  # all of them, so that the time taken tells nothing
                if hmac.compare_digest(key.digest, digest):
                    found = key
        if found is None:
            raise Unauthorized("the API key is unknown")
        return found


def shown_keys(headers: Mapping[str, str]) -> list[str]:
    """Return the keys in `Authorization: Bearer k`, `Authorization: k`, `Api-Key: k` and `X-Api-Key: k`.

    One may be for somebody else, as a proxy's that asks for a name and a password.
    """
    value = headers.get("authorization", "").strip() + " "  # a client without a key sends the scheme alone
    for scheme in _SCHEMES:
        if value[: len(scheme)].lower() == scheme:
            value = value[len(scheme) :]
            break
    return [key for text in (value, headers.get("api-key", ""), headers.get("x-api-key", "")) if (key := text.strip())]


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys of a file: one per line, `key` or `name: key`, plain or `sha256:HEX`; `#` begins a comment. Raises SettingError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingError(f"{_told(path)} cannot be read: {reason}") from None
    keys = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(_line(line.strip()))
            except ValueError as error:
                raise SettingError(f"{_told(path)}, line {number}: {error}") from None
    return tuple(_unique(keys))


def _told(path: Path) -> str:
    return f"RERANKER_API_KEYS_FILE={str(path)!r}"


def _line(line: str) -> Key:
    """Raises ValueError that does not repeat the line: it holds a key."""
    if line.lower().startswith(HASH):  # before names: `sha256: HEX` would make a plain key of what anybody may read
        return _named("", line)
    name, mark, key = line.partition(": ")
    if mark:
        return _named(name.strip(), key.strip())
    if ":" in line:  # `name:key` would be a key that nobody was given
        raise ValueError("a colon needs a blank after it, as in `name: key`; a key that holds a colon needs a name before it")
    return _named("", line)


def _named(name: str, text: str) -> Key:
    digest = bytes.fromhex(hash_key(text).removeprefix(HASH))
    return Key(name or digest.hex()[:8], digest)


def _unique(keys: Iterable[Key]) -> Iterable[Key]:
    return {key.digest: key for key in keys}.values()

"""How a text becomes a setting's value, and how a setting's range reads. Pure; the declaration is in `settings`."""

from __future__ import annotations

import functools
import hashlib
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from batching.errors import SettingError
from service.settings import PREFIX, SECTIONS, About, Settings

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SCALE = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
HASH = "sha256:"
"""What a key begins with that is given hashed."""
_HASHED = re.compile(HASH + r"[0-9a-f]{64}")


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it was declared, ready to be asked."""

    name: str
    type: Any
    """The value's type, without None: str, int, float, bool, tuple or a Literal."""
    optional: bool
    default: Any
    about: About

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()

    @property
    def option(self) -> str:
        """The command line's option."""
        return "--" + self.name.replace("_", "-")

    @property
    def aliases(self) -> tuple[str, ...]:
        """Weaker environment variables, without the prefix."""
        return tuple(self.about.alias.split())

    @property
    def shape(self) -> str:
        """The type's name: "str", "int", "float", "bool", "tuple" or "literal"."""
        origin = typing.get_origin(self.type)
        return "literal" if origin is Literal else str((origin or self.type).__name__)

    @property
    def none(self) -> str:
        """The word for an absent value or an empty list; empty where the setting takes neither."""
        if self.shape == "tuple":
            return "" if self.default else "none"
        return self.about.none if self.optional else ""


@functools.cache
def declared() -> dict[str, Declared]:
    """Return all settings by field name, in the order of their declaration."""
    hints = typing.get_type_hints(Settings, include_extras=True)
    return {field.name: _declared(field, hints[field.name]) for field in msgspec.structs.fields(Settings)}


def sections() -> dict[str, list[Declared]]:
    """Return all settings by their section's title, in order."""
    found: dict[str, list[Declared]] = {}
    title = ""
    for setting in declared().values():
        title = SECTIONS.get(setting.name, title)
        found.setdefault(title, []).append(setting)
    return found


def _declared(field: msgspec.structs.FieldInfo, hint: Any) -> Declared:
    bare, about = typing.get_args(hint)
    optional = isinstance(bare, types.UnionType)
    return Declared(
        name=field.name, type=typing.get_args(bare)[0] if optional else bare, optional=optional, default=field.default, about=about
    )


def parse(setting: Declared, text: str, variable: str) -> Any:
    """Return the value that `text` stands for. Raises SettingError that names `variable`, the text and the range."""
    text = text.strip()
    if setting.none and text.lower() in ({"none"} if setting.shape == "tuple" else {"auto", "none", setting.none}):
        return setting.default if setting.shape == "tuple" else None
    reader = _READERS.get(setting.about.kind or setting.shape, str)
    try:
        value = reader(text)
    except ValueError:
        raise refusal(setting, text, variable) from None
    if not _inside(setting, value):
        raise refusal(setting, text, variable)
    return value


def refusal(setting: Declared, text: str, variable: str) -> SettingError:
    """Return the error for a value outside its range; a key's text is not repeated."""
    shown = "…" if setting.about.kind == "key" else repr(text)
    return SettingError(f"{variable}={shown} is not allowed: it takes {allowed(setting)}")


def allowed(setting: Declared) -> str:
    """Return the range of a setting in words."""
    words = _allowed_values(setting)
    return f"{words}, or {setting.none}" if setting.none else words


def _allowed_values(setting: Declared) -> str:
    kind = setting.shape
    if setting.about.takes:
        return setting.about.takes
    if kind == "literal":
        return " | ".join(typing.get_args(setting.type))
    if kind == "bool":
        return "true | false"
    if kind == "tuple":
        return "a comma-separated list"
    if kind == "str":
        return "a text"
    noun = {"bytes": "a size in bytes (K, M and G may follow)"}.get(setting.about.kind) or (
        "a whole number" if kind == "int" else "a number"
    )
    return f"{noun} {_bounds(setting.about)}".rstrip()


def _bounds(about: About) -> str:
    low = f"over {about.gt:g}" if about.gt is not None else f"from {_plain(about.ge)}" if about.ge is not None else ""
    high = f"up to {_plain(about.le)}" if about.le is not None else ""
    return " ".join(part for part in (low, high) if part)


def _plain(number: float | None) -> str:
    return f"{int(number)}" if number is not None and float(number).is_integer() and number < 1e15 else f"{number}"


def _inside(setting: Declared, value: Any) -> bool:
    about = setting.about
    if setting.shape == "literal":
        return value in typing.get_args(setting.type)
    if setting.shape in {"int", "float"}:
        return (
            (about.ge is None or value >= about.ge) and (about.gt is None or value > about.gt) and (about.le is None or value <= about.le)
        )
    parts = (value,) if setting.shape == "str" else value
    return not about.pattern or (bool(parts) and all(re.fullmatch(about.pattern, part) for part in parts))


def _bool(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError


def _int(text: str) -> int:
    # int() also takes other scripts' digits, and 1_000; only the second is welcome.
    if not text.isascii():
        raise ValueError
    return int(text)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(i?b)?", text.lower(), re.ASCII)
    if match is None:
        raise ValueError
    return int(match[1]) * _SCALE[match[2]]


def _list(text: str) -> tuple[str, ...]:
    # An empty place is kept inside the list (MODEL_PATH counts places), dropped at its end.
    parts = [part.strip() for part in text.split(",")]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def hash_key(key: str) -> str:
    """Return `sha256:HEX` of a key; one that already is such a hash stays, in lower case. Raises ValueError for one that is not whole."""
    given = key.lower()
    if not given.startswith(HASH):
        return HASH + hashlib.sha256(key.encode()).hexdigest()
    # Taken as a plain key, a hash that was cut or mistyped would let in whoever has read it.
    if not _HASHED.fullmatch(given):
        raise ValueError(f"{HASH} takes 64 hex digits")
    return given


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(hash_key(key) for key in _list(text) if key)
    if not keys:  # commas alone would open the service to anyone
        raise ValueError
    return keys


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": float,
    "bytes": _bytes,
    "tuple": _list,
    "key": _keys,
}

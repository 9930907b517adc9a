"""Which ways of running a model are compared: read off `ScoringOptions` itself, so that a new choice is measured from the start."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

LEFT_OUT = frozenset({"device", "threads", "query_cache"})


@dataclass(frozen=True, slots=True)
class Variant:
    """The default options, or these with one choice made otherwise."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)


def variants(options: type[msgspec.Struct]) -> list[Variant]:
    """Return the default and every other value of every choice (a Literal or a bool), one at a time."""
    hints = typing.get_type_hints(options)
    found = [Variant("default")]
    for one in msgspec.structs.fields(options):
        if one.name not in LEFT_OUT:
            found += [Variant(f"{one.name}={_word(value)}", {one.name: value}) for value in _others(hints[one.name], one.default)]
    return found


def _others(kind: Any, default: object) -> list[object]:
    if kind is bool:
        return [not default]
    if typing.get_origin(kind) is Literal:
        return [value for value in typing.get_args(kind) if value not in (default, "auto")]
    return [value for part in typing.get_args(kind) if part is not type(None) for value in _others(part, default)]


def _word(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)

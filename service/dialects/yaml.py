"""A YAML emitter for structured documents, which Cohere's clients and models see as YAML.

Block style, keys in their own order, nothing folded: text that a model reads, and that any YAML 1.1 or 1.2 parser reads back to the same
value. Only what JSON can hold is emitted. PyYAML would take a hundred times as long, and is no dependency of the HTTP process.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

_WORDS = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"})
"""Words that some YAML version reads as something other than text."""
_NESTED = (dict, list)
_SHORT = 64
"""Characters of a key that is worth remembering; a request's documents share their keys."""
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves alone inside quotes and YAML does not allow there."""


def emit(value: Any) -> str:
    """Write `value` (what JSON can hold) as a YAML document without a final line break."""
    lines: list[str] = []
    if not value or not isinstance(value, _NESTED):
        return _scalar(value)
    _block(value, "", lines)
    return "\n".join(lines)


def _block(value: dict[Any, Any] | list[Any], indent: str, lines: list[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _entry(f"{indent}-", item, indent, lines)
    else:
        for key, item in value.items():
            _entry(f"{indent}{_key(str(key))}:", item, indent, lines)


def _entry(lead: str, item: Any, indent: str, lines: list[str]) -> None:
    kind = type(item)
    if kind is str:
        lines.append(f"{lead} {_lines(item, indent) if chr(10) in item else _text(item)}")
    elif kind is int:
        lines.append(f"{lead} {item}")
    elif item and isinstance(item, _NESTED):
        lines.append(lead)
        _block(item, indent + "  ", lines)
    else:
        lines.append(f"{lead} {_scalar(item)}")


def _lines(text: str, indent: str) -> str:
    # White space at the start would set the block's indentation, white space at the end would be lost.
    if text[0].isspace() or text[-1].isspace() or not text.replace("\n", "").isprintable():
        return _text(text)
    deeper = f"\n{indent}  "
    return f"|-{deeper}{text.replace(chr(10), deeper)}"


def _key(text: str) -> str:
    return _short_key(text) if len(text) <= _SHORT else _text(text)


@lru_cache(maxsize=1024)
def _short_key(text: str) -> str:
    return _text(text)


def _text(text: str) -> str:
    plain = text.isprintable() and text[:1].isalpha() and ":" not in text and "#" not in text and text[-1] != " "
    if plain and text.lower() not in _WORDS:
        return text
    return _UNPRINTABLE.sub(_escape, msgspec.json.encode(text).decode())


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    return _float(value) if isinstance(value, float) else msgspec.json.encode(value).decode()


def _float(value: float) -> str:
    # YAML 1.1 takes 1e+20 for text: the mantissa needs its point and the exponent its sign.
    digits = repr(value)
    mantissa, mark, exponent = digits.partition("e")
    if not mark:
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(digits, digits)
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"

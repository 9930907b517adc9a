"""Reading one field of a body: the value if it is right, InvalidRequest naming field, value and limit if it is not.

Lenient where real clients are loose (booleans as strings, whole numbers as floats, null as absent), strict in everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from batching.errors import InvalidRequest, TooLarge

_SHOWN = 40
"""Characters of a wrong string that an error message repeats."""
_BOOLEANS = {"true": True, "false": False}
_LARGEST = 2**31 - 1
_HUGE = 10**20


def shown(value: Any) -> str:
    """Say what a wrong value is, short enough for an error message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= _HUGE:
        return "a number of more than 20 digits"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= _SHOWN else f'"{value[:_SHOWN]}…" ({len(value)} characters)'
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def wrong(field: str, expected: str, value: Any) -> InvalidRequest:
    """The error for a value that is not what its field takes."""
    return InvalidRequest(f"{field}: expected {expected}, got {shown(value)}", field)


@contextmanager
def inside(field: str) -> Iterator[None]:
    """Let errors about what an object holds name the object too."""
    try:
        yield
    except InvalidRequest as error:
        raise type(error)(f"{field}.{error}", f"{field}.{error.field}") from None


def flag(value: Any, field: str, default: bool = False) -> bool:
    """A boolean; the strings "true" and "false" count, as RAGFlow sends them."""
    if value is None:
        return default
    if value is True or value is False:
        return bool(value)
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise wrong(field, "true or false", value)


def whole(value: Any, field: str, low: int, high: float = _LARGEST) -> int | None:
    """A whole number in [low, high]; 3.0 counts as 3; None stays None."""
    if value is None:
        return None
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(number) is not int:
        raise wrong(field, "a whole number", value)
    if not low <= number <= high:
        raise wrong(field, f"at least {low}" if number < low else f"at most {high}", value)
    return number


def most(value: Any, field: str) -> int | None:
    """How many results: at least 0; more than there can be are all, for some clients send their largest number then; None stays None."""
    number = whole(value, field, 0, math.inf)
    return None if number is None else min(number, _LARGEST)


def choice(value: Any, field: str, options: Sequence[str]) -> str | None:
    """One of `options`, which is returned as written there; case does not matter; None stays None."""
    if value is None:
        return None
    if isinstance(value, str):
        for option in options:
            if value.lower() == option.lower():
                return option
    raise wrong(field, "one of " + ", ".join(f'"{option}"' for option in options), value)


def name(value: Any, field: str) -> str | None:
    """A string; None stays None."""
    if value is None or isinstance(value, str):
        return value
    raise wrong(field, "a string", value)


def text(value: Any, field: str) -> str:
    """A string that is not blank, alone, as the `text` of an object or in its parts; required."""
    if isinstance(value, dict):
        value, field = of_object(value, field)
    if not isinstance(value, str):
        raise wrong(field, "a string", value) if value is not None else InvalidRequest(f"{field}: required, a string", field)
    if not value or value.isspace():
        raise InvalidRequest(f"{field}: must not be empty or be only whitespace", field)
    return value


def of_object(value: dict[str, Any], field: str) -> tuple[Any, str]:
    """What should be the text of an object, and its field: `text`, or the parts of `content`, one below the other, as vLLM has it."""
    content = value.get("content")
    if value.get("text") is not None or not isinstance(content, list):
        return value.get("text"), f"{field}.text"
    field = f"{field}.content"
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise wrong(f"{field}[{index}]", "an object with text", part)
    return "\n".join(part["text"] for part in content), field


def array(value: Any, field: str, limit: int, least: int = 1) -> list[Any]:
    """A list of `least` to `limit` items; required. Raises TooLarge naming the setting behind the limit."""
    if not isinstance(value, list):
        raise wrong(field, "an array", value) if value is not None else InvalidRequest(f"{field}: required, an array", field)
    if len(value) < least:
        raise InvalidRequest(f"{field}: must not be empty", field)
    check_count(len(value), field, limit)
    return value


def check_count(count: int, field: str, limit: int) -> None:
    """Refuse more documents than one call may carry."""
    if count > limit:
        raise TooLarge(f"{field}: {count} given, at most {limit} allowed in one request (RERANKER_MAX_DOCUMENTS)", field)


def strings(value: Any, field: str, limit: int) -> list[str]:
    """A list of strings, neither empty nor over the limit."""
    items = array(value, field, limit)
    for index, item in enumerate(items):
        if type(item) is not str:
            raise wrong(f"{field}[{index}]", "a string", item)
    return items

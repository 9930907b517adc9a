"""Slots in a layout's text: `{query}` and the like, which a request fills in."""

from __future__ import annotations

import re
from functools import lru_cache

NAMES = "query|document|instruction|count|number"
SLOT = re.compile(rf"(\{{(?:{NAMES})\}})")
LITERAL = re.compile(rf"\{{(\\*(?:{NAMES})\}})")
ESCAPED = re.compile(rf"\{{\\(\\*(?:{NAMES})\}})")


def escaped(text: str) -> str:
    """A checkpoint's own text for a layout: what reads like a slot in it is none, and `render` gives it as it was."""
    return LITERAL.sub(r"{\\\1", text)


def render(text: str, slots: dict[str, str]) -> str:
    """Fill the slots of `text` in one pass, so that a slot's name in a user's text stays text."""
    return "".join([slots.get(part, part) if number % 2 else part for number, part in enumerate(_parts(text))])


@lru_cache(maxsize=1024)
def _parts(text: str) -> list[str]:
    """A layout's text cut at its slots, which stand at the odd places."""
    return [part if number % 2 else ESCAPED.sub(r"{\1", part) for number, part in enumerate(SLOT.split(text))]

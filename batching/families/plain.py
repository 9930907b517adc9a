"""ASCII text, to which a tokenizer's normalizer does no more than a table of 128 characters does, for nothing.

Normalizing is a third of what tokenizing English text costs, since the library notes for every character where it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

import msgspec
from tokenizers import Tokenizer

CONTEXT_FREE = frozenset({"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "StripAccents"})
"""Normalizers that do the same to an ASCII character wherever it stands; but to a carriage return before a line feed some do not."""
ASCII = "".join(map(chr, range(128)))
ALPHABETS = (ASCII, ASCII.replace("\r", ""))
_EMPTY: dict[str, Any] = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}


class Plain:
    """A tokenizer for text that `reads` accepts, normalized by `normalized`. It shares the model of the one it was made from."""

    def __init__(self, tokenizer: Tokenizer, alphabet: str, normalize: Callable[[str], str]) -> None:
        """`normalize` treats every character of `alphabet` by itself, and makes at most one ASCII character of it."""
        self.tokenizer = tokenizer
        single = {ord(one): normalize(one) for one in alphabet}
        self._table = bytes(ord(single.get(code) or chr(code)) if code < len(ASCII) else code for code in range(256))
        self._dropped = bytes(code for code, to in single.items() if not to)
        self._changes = any(to != chr(code) for code, to in single.items())
        self._lacks = next(iter(set(ASCII) - set(alphabet)), "")

    @classmethod
    def of(cls, whole: Tokenizer, spec: dict[str, Any]) -> Plain | None:
        """The one for `whole`, which `spec` describes; None where it would not surely give the same ids, or gain nothing."""
        normalizer = steps(spec.get("normalizer"), "normalizers")
        head = [*takewhile(lambda step: step["type"] in CONTEXT_FREE, normalizer)]
        if not head or not all(token["special"] for token in spec["added_tokens"]):
            return None  # `whole` is deaf to special tokens, but looks for others in text as it came
        normalize = _normalizer(head).normalize_str
        alphabet = next((one for one in ALPHABETS if _is_context_free(normalize, one)), None)
        if alphabet is None:
            return None
        tokenizer = Tokenizer(whole.model)
        tokenizer.normalizer = _normalizer(normalizer[len(head) :])
        tokenizer.pre_tokenizer = whole.pre_tokenizer
        return cls(tokenizer, alphabet, normalize)

    def reads(self, text: str) -> bool:
        """Whether `text` is such text."""
        return text.isascii() and (not self._lacks or self._lacks not in text)

    def normalized(self, text: str) -> str:
        """What the normalizer would have made of it."""
        return text.encode().translate(self._table, self._dropped).decode() if self._changes else text


def steps(part: dict[str, Any] | None, parts: str) -> list[dict[str, Any]]:
    """What a tokenizer's normalizer or pre-tokenizer does, one after the other; a sequence of some holds them as `parts`."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [step for one in part[parts] for step in steps(one, parts)]
    return [part]


def _normalizer(parts: list[dict[str, Any]]) -> Any:
    """The library's normalizer of these steps."""
    spec = {**_EMPTY, "normalizer": {"type": "Sequence", "normalizers": parts}}
    return Tokenizer.from_str(msgspec.json.encode(spec).decode()).normalizer


def _is_context_free(normalize: Callable[[str], str], alphabet: str) -> bool:
    """Whether it treats every character by itself, shown on all pairs, and makes at most one ASCII character of it."""
    single = {one: normalize(one) for one in alphabet}
    if any(len(to) > 1 or not to.isascii() for to in single.values()):
        return False
    pairs = "".join(one + other for one in alphabet for other in alphabet)
    return normalize(pairs) == "".join(single[one] for one in pairs)

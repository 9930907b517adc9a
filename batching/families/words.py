"""Words that were met before, by their ids: text that a tokenizer reads word by word costs one look-up a word, a tenth of tokenizing it.

A word is what stands between white space, with the punctuation on it. Only for tokenizers that are of a known kind, and that show when
they are opened that no word's ids depend on its neighbours; and only for text in alphabets whose characters don't reach over a space.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import numpy as np

from batching.families.plain import ASCII, CONTEXT_FREE, steps
from batching.types import Int32s

Read = Callable[[list[str]], list[list[int]]]
"""Gives the ids of each text."""

MOST_BYTES = 16 << 20
"""Of words kept at once, in two generations: some 60,000 words, of which most of the text of a library is made."""
ENTRY_BYTES = 200
"""Of a word besides its characters and ids: two objects, and its place in the table."""
MOST = 0.9
"""Of a text's words: reading the others then takes about as long as looking up these."""
NEW = 0.5
"""A text of more new words than this part is read whole, as one of numbers that never come again always is, and teaches only a few:"""
TAUGHT = 4
"""Of ordinary text that is enough to know half of its words after some hundred texts."""
LONGEST_WORD = 1024
"""Longer ones are data, and don't come again."""

APART = frozenset({"BertPreTokenizer", "Metaspace", "Whitespace", "WhitespaceSplit"})
"""Pre-tokenizers that end a token at every space; a Metaspace does where it splits and begins every word alike."""
HARMLESS = frozenset({"Digits", "Punctuation"})
"""Pre-tokenizers that look at single characters."""
ONE_SPACE = frozenset({" {2,}", r"\s{2,}|[\n\r\t]"})
"""Patterns of replacements that make one space of other white space."""
LED = frozenset(
    rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in (r"\p{N}", r"\p{N}{1,3}")
)
"""Patterns that cut text before byte pairs are merged, Qwen's and Llama 3's: a single space begins a token, as it does in GPT-2's own."""

MARKS = re.compile(r"[!-/:-@\[-`{-~]|[^!-/:-@\[-`{-~]+")
"""ASCII's punctuation, and what stands between."""

BLOCKS = "\u00a0-\u024f\u0370-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u20a0-\u20c0\u2100-\u214f"
"""Latin, Greek, Cyrillic, typographic signs and currencies: characters that join no character before them."""
CHARACTERS = [*ASCII, *(chr(code) for first, last in re.findall("(.)-(.)", BLOCKS) for code in range(ord(first), ord(last) + 1))]
SPACES = [one for one in CHARACTERS if one.isspace()]


def open_words(spec: dict[str, Any], whole: Read, read: Read) -> Words | None:
    """Words of the tokenizer that `spec` describes and `whole` reads with; `read` gives the same, faster. None: it is of no known kind."""
    kind = MarkedWords if _cuts_marks(spec) else Words
    words = kind.of(whole, read) if _all_apart(spec) else LedWords(read) if _all_led(spec) else None
    return words if words is not None and words.proves(whole) else None


class Words:
    """Reads text by its words, which white space of any kind and number keeps apart. Safe to use from several threads."""

    def __init__(self, read: Read, odd: str, tail: list[int]) -> None:
        """`read` reads words not met before; `odd`: characters in no text read so; `tail`: ids of white space at a text's end."""
        self._read = read
        self._odd = [one for one in odd if one.isascii()]
        self._foreign = re.compile(f"[^{re.escape(''.join(one for one in CHARACTERS if one not in odd))}]")
        self._tail = _packed(tail)
        self._young: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._young_bytes = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, whole: Read, read: Read) -> Words | None:
        """For a tokenizer that reads with `whole`; None where it tells one space from two, or a first one from none."""
        one, led, apart, ended, *others = whole(
            ["a", " a", "a  a", "a ", *(f"{space}a{space}a {space}a{space} a{space}" for space in SPACES)]
        )
        tail = ended[len(one) :]
        if led != one or apart != one + one or ended != one + tail:
            return None
        return cls(read, "".join(space for space, ids in zip(SPACES, others, strict=True) if ids != one * 4 + tail), tail)

    def proves(self, whole: Read) -> bool:
        """Show on every character at both ends of a word that words are read as `whole` reads them beside others."""
        text = " ".join(f"a{one} {one}a" for one in CHARACTERS if one not in SPACES)
        return bool(np.array_equal(self.by_words(text), whole([text])[0]))

    def reads(self, text: str) -> bool:
        """Whether `text` may be read by its words."""
        if not text or text.isspace():
            return False
        if text.isascii():
            return not any(map(text.__contains__, self._odd))
        return self._foreign.search(text) is None

    def has_met(self, text: str) -> bool:
        """Whether most words of a text for which `reads` is true were met before."""
        words = self._split(text)
        return sum(map(self._young.__contains__, words)) >= MOST * len(words)

    def ids(self, text: str) -> Int32s:
        """Ids of a text for which `reads` is true; not to be written to."""
        words = self._split(text)
        try:
            found = b"".join(map(self._young.__getitem__, words))
        except KeyError:
            young, old = self._generations()
            missing = set(words).difference(young)
            if len(missing) > max(TAUGHT, NEW * len(words)):
                self._meet(set(islice(missing, TAUGHT)), young, old)
                return np.array(self._read([text])[0], np.int32)
            found = self._joined(words, missing, young, old)
        return self._ended(found, text)

    def by_words(self, text: str) -> Int32s:
        """As `ids`, whatever that costs."""
        words = self._split(text)
        young, old = self._generations()
        return self._ended(self._joined(words, set(words).difference(young), young, old), text)

    def _ended(self, found: bytes, text: str) -> Int32s:
        if self._tail and text[-1].isspace():
            found += self._tail
        return np.frombuffer(found, np.int32)

    def _split(self, text: str) -> list[str]:
        return text.split()

    def _text(self, word: str) -> str:
        """What is read for a word."""
        return word

    def _parts(self, word: str) -> list[str]:
        """Words that a word is read as, one after the other."""
        return [word]

    def _generations(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """The words met lately, an empty table where they were enough, and those met before them. Nothing ever leaves either."""
        with self._lock:
            if self._young_bytes > MOST_BYTES // 2:
                self._old, self._young, self._young_bytes = self._young, {}, 0
            return self._young, self._old

    def _joined(self, words: list[str], missing: set[str], young: dict[str, bytes], old: dict[str, bytes]) -> bytes:
        """Ids of words, one after the other; of these `missing` are not among the young."""
        found = self._meet(missing, young, old)
        known = young if missing <= young.keys() else {**{word: young[word] for word in words if word in young}, **found}
        return b"".join(map(known.__getitem__, words))

    def _meet(self, missing: set[str], young: dict[str, bytes], old: dict[str, bytes]) -> dict[str, bytes]:
        """Ids of words that are not among the young, which they join unless one is a long one."""
        found = {word: old[word] for word in missing if word in old}
        parts = {word: self._parts(word) for word in missing.difference(found)}
        unread = [*set(chain.from_iterable(parts.values())).difference(young, found)]
        found.update(zip(unread, map(_packed, self._read([*map(self._text, unread)])), strict=True))
        for word, several in parts.items():
            if word not in found:
                found[word] = b"".join(found[part] if part in found else young[part] for part in several)
        if not any(len(word) > LONGEST_WORD for word in parts):
            young.update(found)
            with self._lock:
                self._young_bytes += sum(ENTRY_BYTES + len(word) + len(ids) for word, ids in found.items())
        return found


class MarkedWords(Words):
    """Reads text in which each ASCII punctuation mark is a word, too, wherever it stands: a word met with a new mark on it is known."""

    def _parts(self, word: str) -> list[str]:
        return MARKS.findall(word)


class LedWords(Words):
    """Reads text whose words, all but the first, begin with the one space before them; line ends are within words."""

    def __init__(self, read: Read) -> None:
        super().__init__(read, "".join(space for space in SPACES if space not in " \n"), [])

    def reads(self, text: str) -> bool:
        """Whether `text` may be read by its words."""
        if text[:1] == " " or text[-1:] == " " or "  " in text or " \n" in text or "\n " in text:
            return False
        return super().reads(text)

    def _split(self, text: str) -> list[str]:
        words = text.split(" ")
        words[0] += " "  # nothing leads it, and no other word holds a space
        return words

    def _text(self, word: str) -> str:
        return word[:-1] if word[-1:] == " " else " " + word


def _packed(ids: list[int]) -> bytes:
    return np.array(ids, np.int32).tobytes()


def _others(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Added tokens that it looks for in text; to special ones it is deaf."""
    return [token for token in spec.get("added_tokens", []) if not token["special"]]


def _all_apart(spec: dict[str, Any]) -> bool:
    """Whether it is of a kind that has white space between words and in none."""
    normal = all(
        step["type"] in CONTEXT_FREE or step["type"] == "Strip" or (step["type"] == "Replace" and step["pattern"].get("Regex") in ONE_SPACE)
        for step in steps(spec.get("normalizer"), "normalizers")
    )
    within = all(_stays(token) and not re.search(r"\s", token["content"]) for token in _others(spec))
    cutting = steps(spec.get("pre_tokenizer"), "pretokenizers")
    known = all(step["type"] in APART | HARMLESS and _marks_all(step) for step in cutting)
    return normal and within and known and any(step["type"] in APART for step in cutting)


def _cuts_marks(spec: dict[str, Any]) -> bool:
    """Whether punctuation marks stand by themselves."""
    return [step["type"] for step in steps(spec.get("pre_tokenizer"), "pretokenizers")] == ["BertPreTokenizer"]


def _marks_all(step: dict[str, Any]) -> bool:
    """Whether a step, if it is a Metaspace, cuts before every space and gives the first word one; older files hold fewer of its options."""
    always = step.get("add_prefix_space", True) and step.get("prepend_scheme", "always") == "always"
    return step["type"] != "Metaspace" or bool(step.get("split", True) and always)


def _all_led(spec: dict[str, Any]) -> bool:
    """Whether it is of a kind in which a single space leads the word behind it."""
    normal = all(step["type"] in CONTEXT_FREE for step in steps(spec.get("normalizer"), "normalizers"))
    within = all(_stays(token) and (" " not in token["content"] or "  " in token["content"]) for token in _others(spec))
    match steps(spec.get("pre_tokenizer"), "pretokenizers"):
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return normal and within
        case [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return normal and within and pattern in LED
    return False


def _stays(token: dict[str, Any]) -> bool:
    """Whether an added token takes no white space beside it along."""
    return not (token["lstrip"] or token["rstrip"])

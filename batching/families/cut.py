"""Cutting long text by characters before it is tokenized, so that a megabyte costs no more than the tokens that are kept. Exact.

Text is cut where a single space stands between two letters or digits: every tokenizer served here starts a new word at such a space, so the
tokens before it can't depend on the text behind it. Text without such a place (Chinese, base64) is cut where all ways to end it agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from batching.families.vocabulary import Vocabulary
from batching.types import Int32s

CHARS_PER_TOKEN = 8
MARGIN_CHARS = 64
GROWTH = 4
LONGEST_PIECE = 48
"""Characters of the longest piece that text without spaces is cut by; longer ones are runs of spaces or dashes."""
EXPANSION_CHARS = 8
"""Characters that a normalizer may put in place of one."""
WORD_BREAK_CHARS = 2_000
"""How far back from the wanted length a place to cut is looked for."""


def first_tokens(vocabulary: Vocabulary, text: str, need: int) -> tuple[Int32s, bool]:
    """The text's token ids if they are at most `need`, else at least `need` + 1 of its first; and whether these are all."""
    chars = need * CHARS_PER_TOKEN + MARGIN_CHARS
    while chars < len(text):
        ids = _leading(vocabulary, text, chars)
        if ids is not None and len(ids) > need:
            return ids, False
        chars *= GROWTH
    return vocabulary.arrays([text])[0], True


def last_tokens(vocabulary: Vocabulary, text: str, need: int) -> tuple[Int32s, bool]:
    """As `first_tokens`, but the last `need` + 1 ids or more of a long text."""
    chars = need * CHARS_PER_TOKEN + MARGIN_CHARS
    while chars < len(text) and vocabulary.splits_at_spaces:
        places = range(len(text) - chars, min(len(text) - chars + WORD_BREAK_CHARS, len(text)))
        begin = next((place for place in places if _is_break(text, place)), None)
        ids = vocabulary.arrays([text[begin:]])[0] if begin is not None else None
        if ids is not None and len(ids) > need:
            return ids, False
        chars *= GROWTH
    return vocabulary.arrays([text])[0], True


def _is_break(text: str, place: int) -> bool:
    return text[place] == " " and 0 < place < len(text) - 1 and text[place - 1].isalnum() and text[place + 1].isalnum()


def _leading(vocabulary: Vocabulary, text: str, chars: int) -> Int32s | None:
    """Ids that the whole text surely begins with, from about its first `chars` characters; None: better tokenize more."""
    lowest = max(chars - WORD_BREAK_CHARS, chars // 2)
    end = next((place for place in range(chars, lowest, -1) if _is_break(text, place)), None) if vocabulary.splits_at_spaces else None
    if end is not None:
        return vocabulary.arrays([text[:end]])[0]
    ends = _ends(vocabulary, chars)
    if len(text) <= chars * len(ends):
        return None
    return common_start(vocabulary.arrays([text[:end] for end in ends]))


def _ends(vocabulary: Vocabulary, chars: int) -> Sequence[int]:
    """Places to end a text so that one of them is, or one lies behind, the end of one of the whole text's tokens.

    A Viterbi or merge path over the whole text has a token's end within one longest piece before any place, and up to there it is the path
    of the text that ends there. A WordPiece word is read whole or, above its limit of characters, not at all: two ends further apart
    than that limit disagree about a word that one of them breaks.
    """
    limit = vocabulary.model.get("max_input_chars_per_word")
    if limit:
        return (chars - int(limit) - 1, chars)
    return range(chars - min(vocabulary.max_piece_chars, LONGEST_PIECE) - EXPANSION_CHARS, chars + 1)


def common_start(lists: Sequence[Int32s]) -> Int32s:
    """The longest list that all begin with."""
    shortest = min(lists, key=len)
    agreed = np.ones(len(shortest), np.bool_)
    for other in lists:
        agreed &= other[: len(shortest)] == shortest
    return shortest if agreed.all() else shortest[: int(agreed.argmin())]

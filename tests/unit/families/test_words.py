"""Text read word by word has the ids that the whole tokenizer gives it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from batching.families import words as words_file
from batching.families.words import CHARACTERS, LedWords, MarkedWords, Words, open_words
from tests.unit.families.conftest import Shelf
from tests.unit.families.test_plain import whole

APART = ["bert", "bi_encoder", "electra", "xlm_roberta", "deberta"]
LED = ["qwen3", "modernbert"]
PRINTED = [chr(code) for code in range(33, 127)]
WHITE = [" ", "  ", "\n", " \n", "\n\n", "\t", "\r\n", "\u00a0", "\x0b", "\x85", "\u3000", ""]
TEXTS = [
    "Ask for 3.5 litres of 'plain' oil, don't you?", "Über die Brücke \u2013 naïve façade…", "Москва и Афины, Αθήνα!", "€ 20, №5 ™",
    " led", "ended ", "two  spaces", "line\nends\n\nhere\n", "\n", " ", "", "a\tb", "[SEP] </s> <|im_end|> <think> [CLS][SEP]", "don't 'S 'll",
    "e\u0301 is two", "a \u0301b", "東京 is far", "mixed 東 a", "a\u200bb", "x" * 300, "ab " * 300, "1 22 333 4444 55555",
]  # fmt: skip


def known(shelf: Shelf, name: str) -> Words:
    """The words of a family's vocabulary, which it must have."""
    found = shelf.encoder(name).vocabulary._words
    assert type(found) is (LedWords if name in LED else Words if name in {"xlm_roberta", "deberta"} else MarkedWords)
    return found


@pytest.mark.parametrize("name", APART + LED)
def test_ids_are_those_of_the_whole_tokenizer(shelf: Shelf, name: str) -> None:
    """Alone and together, words met for the first and for the second time; and most of these texts are read by words."""
    vocabulary, words = shelf.encoder(name).vocabulary, known(shelf, name)
    expected = whole(shelf, name, TEXTS)
    assert vocabulary.ids(TEXTS) == expected
    assert [vocabulary.ids([text])[0] for text in TEXTS] == expected
    assert sum(map(words.reads, TEXTS)) > len(TEXTS) / 3


@pytest.mark.parametrize("name", APART + LED)
def test_any_two_characters_on_both_sides_of_a_space(shelf: Shelf, name: str) -> None:
    """All pairs of ASCII, and each other character that may be read so beside all that differ in kind."""
    words = known(shelf, name)
    text = " ".join(f"a{one} {other}a" for one in PRINTED for other in PRINTED)
    kinds = "a1.'-_é"
    text += " " + " ".join(f"{kind}{one} {one}{kind}" for one in CHARACTERS if not one.isspace() for kind in kinds)
    assert words.reads(text)
    assert words.by_words(text).tolist() == whole(shelf, name, [text])[0]


alphabet = st.one_of(st.sampled_from([*PRINTED, *CHARACTERS]), st.characters(exclude_categories=["Cs"]))
word = st.text(alphabet, min_size=1, max_size=6)
text = st.lists(st.one_of(word, st.sampled_from(WHITE))).map("".join) | st.lists(word).map(" ".join)


@pytest.mark.parametrize("name", APART + LED)
@given(texts=st.lists(text, max_size=4))
def test_ids_of_any_text(shelf: Shelf, name: str, texts: list[str]) -> None:
    """Whatever stands beside whatever, white space of all kinds included."""
    expected, words = whole(shelf, name, texts), known(shelf, name)
    assert shelf.encoder(name).vocabulary.ids(texts) == expected
    for one, ids in zip(texts, expected, strict=True):
        assert not words.reads(one) or words.by_words(one).tolist() == ids


def lengths(texts: list[str]) -> list[list[int]]:
    """A made-up tokenizer: a word's id is its length."""
    return [[len(one) for one in text.split()] for text in texts]


class Counted:
    """The same, and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: list[str]) -> list[list[int]]:
        self.asked += texts
        return lengths(texts)


def test_a_word_is_read_once() -> None:
    """What was met is not asked for again, and what is not kept, as it is too long, is."""
    read = Counted()
    words = Words(read, "", [])
    long = "x" * 2000
    for _ in range(2):
        assert words.ids("one two three two").tolist() == [3, 3, 5, 3]
        assert words.ids(f"one two {long} one three").tolist() == [3, 3, 2000, 3, 5]
    assert sorted(read.asked) == ["one", "three", "two", long, long]


def test_a_text_of_new_words_is_read_whole_and_teaches_a_few() -> None:
    """What comes once is not worth reading twice; what comes again is known in the end, a few words at a time."""
    read = Counted()
    words = Words(read, "", [])
    text = " ".join(f"{'w' * number}" for number in range(1, 41))
    reads = []
    for _ in range(8):
        before = len(read.asked)
        assert words.ids(text).tolist() == [*range(1, 41)]
        reads.append(len(read.asked) - before)
    assert reads == [5, 5, 5, 5, 5, 20, 0, 0]
    assert sum(one == text for one in read.asked) == 5


def test_a_word_with_a_new_mark_is_known() -> None:
    """Where marks are words: only marks and words not met are asked for, and the whole is kept as well."""
    read = Counted()
    words = MarkedWords(read, "", [])
    words.ids("well known (and) met")
    assert sorted(read.asked) == ["(", ")", "and", "known", "met", "well"]
    assert words.ids("(well-known) met, well-known").tolist() == [1, 4, 1, 5, 1, 3, 1, 4, 1, 5]
    assert read.asked[6:] in (["-", ","], [",", "-"])
    assert {"(well-known)", "met,", "well-known"} <= words._young.keys()


def test_a_text_is_met_when_nine_of_ten_words_are() -> None:
    """Then it is not worth a thread."""
    words = Words(lengths, "", [])
    words.by_words("a b c d e f g h i")
    assert words.has_met("a b c d e f g h i new")
    assert not words.has_met("a b c d e f g h new newer")


def test_words_are_bounded_and_those_in_use_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many different words come, no more are kept; one that comes all the time is not asked for again."""
    monkeypatch.setattr(words_file, "MOST_BYTES", 20_000)
    read = Counted()
    words = Words(read, "", [])
    for number in range(1000):
        assert words.ids(f"often w{number}").tolist() == [5, len(f"w{number}")]
        words.ids("often")
        assert len(words._young) + len(words._old) <= 20_000 / words_file.ENTRY_BYTES
    assert read.asked.count("often") == 1
    assert len(read.asked) == 1001


def test_several_threads_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While generations change under them."""
    monkeypatch.setattr(words_file, "MOST_BYTES", 4_000)
    words = Words(lengths, "", [])
    wrong: list[str] = []

    def work(start: int) -> None:
        for number in range(start, start + 2000):
            text = f"a{'b' * (number % 30)} {number} c"
            if words.ids(text).tolist() != lengths([text])[0]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 500, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


UNIGRAM = [("<unk>", 0.0), ("\u2581", -2.0), ("a", -1.0), ("\u2581a", -1.5), ("\u2581b", -1.5), ("b", -2.0)]


def made(pre_tokenizer: Any, normalizer: Any = None, added: list[dict[str, Any]] | None = None) -> Words | None:
    """Words for a small tokenizer of these parts."""
    tokenizer = Tokenizer(Unigram(UNIGRAM, 0))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    spec = {**json.loads(tokenizer.to_str()), "added_tokens": added or []}

    def read(texts: list[str]) -> list[list[int]]:
        return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]

    words = open_words(spec, read, read)
    for one in TEXTS if words else ():
        assert not words.reads(one) or words.by_words(one).tolist() == read([one])[0]
    return words


def token(content: str, **flags: bool) -> list[dict[str, Any]]:
    return [{"content": content, "special": False, "lstrip": False, "rstrip": False, **flags}]


def spaced() -> Any:
    """XLM-R's: one space for several, and a mark before every word."""
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])


@pytest.mark.parametrize(
    ("expected", "make"),
    [
        (True, lambda: made(pre_tokenizers.Metaspace(), spaced())),
        (True, lambda: made(pre_tokenizers.WhitespaceSplit())),
        (True, lambda: made(pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits()]))),
        (True, lambda: made(pre_tokenizers.Metaspace(), spaced(), token("<new>"))),
        (True, lambda: made(pre_tokenizers.Metaspace(), spaced(), token("a b", special=True))),
        (True, lambda: made(pre_tokenizers.ByteLevel(add_prefix_space=False))),
        (True, lambda: made(pre_tokenizers.ByteLevel(add_prefix_space=False), None, token("    "))),
        (False, lambda: made(pre_tokenizers.Metaspace())),
        (False, lambda: made(pre_tokenizers.Metaspace(prepend_scheme="first"), spaced())),
        (False, lambda: made(pre_tokenizers.Metaspace(prepend_scheme="never"), spaced())),
        (False, lambda: made(pre_tokenizers.Metaspace(split=False), spaced())),
        (False, lambda: made(pre_tokenizers.Metaspace(), normalizers.Sequence([spaced(), normalizers.Replace("a b", "c")]))),
        (False, lambda: made(pre_tokenizers.Metaspace(), normalizers.Sequence([spaced(), normalizers.Prepend("a")]))),
        (False, lambda: made(pre_tokenizers.Metaspace(), spaced(), token("a b"))),
        (False, lambda: made(pre_tokenizers.Metaspace(), spaced(), token("<new>", lstrip=True))),
        (False, lambda: made(pre_tokenizers.Punctuation())),
        (False, lambda: made(pre_tokenizers.CharDelimiterSplit("b"))),
        (False, lambda: made(pre_tokenizers.ByteLevel(add_prefix_space=True))),
        (False, lambda: made(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.Strip())),
        (False, lambda: made(pre_tokenizers.ByteLevel(add_prefix_space=False), None, token("a b"))),
        (False, lambda: made(pre_tokenizers.Split(Regex(r"\s?\w+ ?"), "isolated"))),
    ],
)  # fmt: skip
def test_only_tokenizers_of_known_kinds_read_by_words(expected: bool, make: Callable[[], Words | None]) -> None:
    """Whatever may look past a space is left to the library."""
    assert (make() is not None) is expected


def test_a_tokenizer_must_show_it() -> None:
    """One that is of a known kind by its file, and reads a character otherwise beside a space, is left to the library."""

    def contrary(texts: list[str]) -> list[list[int]]:
        return [[*found, 1] if "~ ~" in text else found for text, found in zip(texts, lengths(texts), strict=True)]

    spec = {"pre_tokenizer": {"type": "WhitespaceSplit"}, "normalizer": None, "added_tokens": []}
    assert open_words(spec, lengths, lengths) is not None
    assert open_words(spec, contrary, lengths) is None


def test_sentencepieces_own_normalizer(charsmap: str) -> None:
    """The table of characters that XLM-RoBERTa's tokenizers carry: line ends are spaces, and a text's end has a token of its own."""
    table = normalizers.Precompiled(base64.b64decode(charsmap))
    words = made(pre_tokenizers.Metaspace(), normalizers.Sequence([table, normalizers.Replace(Regex(" {2,}"), " ")]))
    assert words is not None
    assert all(map(words.reads, ["line\nends\n\nhere\n", "a\tb", "Über die Brücke \u2013 naïve façade…", "\u00a0a", "ended "]))
    np.testing.assert_array_equal(words.ids("a b\n"), [3, 4, 1])

"""The YAML emitter: what any YAML parser reads back is what went in."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from service.dialects.yaml import emit

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text(
    "ab \n-:#'\"|>%@`\t,[]{}&*!?~=.0123456789eE\u2028\ufeff\x85\xa0\x00", max_size=12
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12)


@given(VALUES)
def test_round_trip(value: object) -> None:
    """For every value that JSON can hold, a YAML 1.1 parser reads back the same value from what was emitted."""
    assert yaml.safe_load(emit(value)) == value


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "No",
        "NULL",
        "on",
        "y",
        "~",
        "1e3",
        "0x1f",
        "2024-01-02",
        "12:30:45",
        ".inf",
        "<<",
        "=",
        "",
        " a",
        "a ",
        "- a",
        "a: b",
        "a #b",
    ],
)
def test_looks_like_something_else(word: str) -> None:
    """Text that YAML would read as a number, a date, a boolean or structure stays text."""
    assert yaml.safe_load(emit({"k": word, word: 1})) == {"k": word, word: 1}


def test_form() -> None:
    """Keys keep their order, plain text has no quotes, several lines stand in a block, nothing is folded."""
    document = {
        "title": "Château d'If",
        "year": 1844,
        "tags": ["novel", "sea"],
        "text": "One line.\n  Another: it's indented.",
        "long": "word " * 40 + "end",
    }
    assert emit(document) == (
        "title: Château d'If\nyear: 1844\ntags:\n  - novel\n  - sea\ntext: |-\n  One line.\n    Another: it's indented.\nlong: "
        + "word " * 40
        + "end"
    )

"""A family's layout, compiled for one tokenizer: what stands before and behind a document, as ids.

Everything that is the same for all requests is tokenized once, when the layout is compiled; everything that is the same for all
documents of a request, once per request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from batching.errors import UnsupportedModel
from batching.families.base import Family, Piece
from batching.families.slots import SLOT, render
from batching.families.vocabulary import Vocabulary

JOINT_PROBES = (
    "Paris is big", " led by a space", "  two", "\nline", "\r\n\r\n", "\t", "42", "(round)", "...", "?!", "'s", "é", "\u0301", "京都",
    "ß", "🙂", "_x", "-1", "a\n", "end.", "end.\n", "end ", "end  ", "\u00a0", "\u200b", "A", "{", "</p>", "", ":", ",b", "ﬁ", "\u3000",
)  # fmt: skip
"""Beginnings and endings of text that could grow together with a template's text beside them."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One request's layout around its documents.

    `head` and `tail`: ids before and behind every document. `shared`: how many leading ids of `head` may be computed once (0: none, else
    all of them). `before`, `after`: text that is tokenized together with each document. `query_tokens`: ids of the pieces that
    hold the query.
    """

    head: list[int]
    tail: list[int]
    before: str
    after: str
    shared: int
    query_tokens: int


class Layout:
    """Compiles `pieces` once; `frame` then fills in a request's query and instruction."""

    def __init__(self, family: Family, pieces: Sequence[Piece], vocabulary: Vocabulary) -> None:
        self._family = family
        self._vocabulary = vocabulary
        self._lead: list[int] = []
        self._trail: list[int] = []
        if family.native_single:
            self._lead, self._trail = vocabulary.single_frame()
        self.first = len(self._lead)
        """Tokens that the tokenizer itself puts before the layout."""
        joined = family.joint and not splits_safely(pieces, vocabulary)
        self.pieces = join(pieces, vocabulary) if joined else tuple(pieces)
        self.shares = family.causal and family.shared_pieces > 0 and not joined
        places = [number for number, piece in enumerate(self.pieces) if "{document}" in piece.text]
        self.place = places[0] if places else len(self.pieces)
        self.around = self.pieces[self.place].text if places else ""
        """What is tokenized together with each document."""
        self.cacheable = "{query}" not in self.around and "{instruction}" not in self.around
        """Whether a document's ids are the same in every request."""
        self.sizes = [len(self._fixed_ids(piece)) if not SLOT.search(piece.text) else 0 for piece in pieces]
        """Tokens of each piece of the family's own layout, 0 where there are slots."""
        self._fixed = {number: self._fixed_ids(piece) for number, piece in enumerate(self.pieces) if not SLOT.search(piece.text)}

    def frame(self, query: str, instruction: str | None) -> Frame:
        """Tokenize all that surrounds the documents of one request."""
        slots = fill(self._family, query, instruction)
        open_pieces = [number for number in range(len(self.pieces)) if number not in self._fixed and number != self.place]
        found = dict(
            zip(open_pieces, self._vocabulary.ids([render(self.pieces[number].text, slots) for number in open_pieces]), strict=True)
        )
        ids = {**self._fixed, **found}
        head = self._lead + [token for number in range(self.place) for token in ids[number]]
        tail = [token for number in range(self.place + 1, len(self.pieces)) for token in ids[number]] + self._trail
        before, _, after = self.pieces[self.place].text.partition("{document}") if self.place < len(self.pieces) else ("", "", "")
        return Frame(
            head=head,
            tail=tail,
            before=render(before, slots),
            after=render(after, slots),
            shared=len(head) if self.shares else 0,
            query_tokens=sum(len(found[number]) for number in open_pieces if "{query}" in self.pieces[number].text),
        )

    def _fixed_ids(self, piece: Piece) -> list[int]:
        if piece.special is not None:
            return [self._vocabulary.role(piece.special)]
        if piece.token is not None:
            return [self._vocabulary.token(piece.token)]
        return self._vocabulary.literal(piece.text)


def fill(family: Family, query: str, instruction: str | None) -> dict[str, str]:
    """What stands in the slots of a request."""
    query = query.strip() if family.strip else query
    given = instruction or family.default_instruction or ""
    text = family.instructed_text if given and family.instructed_text else family.query_text
    wrapped = render(family.instruction_text, {"{instruction}": given}) if given else ""
    return {"{query}": render(text, {"{query}": query, "{instruction}": given}), "{instruction}": wrapped}


def grow_together(first: Piece, second: Piece, vocabulary: Vocabulary) -> bool:
    """Whether the reference of a joint family tokenizes the two as one string: no special token stands in them."""
    return all(piece.text and len(vocabulary.split(piece.text)) == 1 for piece in (first, second))


def join(pieces: Sequence[Piece], vocabulary: Vocabulary) -> tuple[Piece, ...]:
    """Put neighbouring pieces without special tokens back into one, as a reference that tokenizes them together has them."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and grow_together(joined[-1], piece, vocabulary):
            joined[-1] = Piece(joined[-1].text + piece.text)
        else:
            joined.append(piece)
    return tuple(joined)


def splits_safely(pieces: Sequence[Piece], vocabulary: Vocabulary) -> bool:
    """Whether tokenizing neighbouring pieces one by one gives the same ids as tokenizing them together, on all probes."""
    for first, second in pairwise(pieces):
        if not grow_together(first, second, vocabulary):
            continue
        left = [render(first.text, dict.fromkeys(("{query}", "{document}", "{instruction}"), probe)) for probe in JOINT_PROBES]
        right = [render(second.text, dict.fromkeys(("{query}", "{document}", "{instruction}"), probe)) for probe in JOINT_PROBES]
        pairs = [(one, other) for one in left for other in right]
        together = vocabulary.ids([one + other for one, other in pairs])
        ones, others = dict(zip(left, vocabulary.ids(left), strict=True)), dict(zip(right, vocabulary.ids(right), strict=True))
        if any(ids != ones[one] + others[other] for ids, (one, other) in zip(together, pairs, strict=True)):
            return False
    return True


def check_native_pair(family: Family, vocabulary: Vocabulary) -> None:
    """Hold the family's layout against the tokenizer's own pair template; raises UnsupportedModel when they differ."""
    frame = Layout(family, family.layout, vocabulary).frame("a", None)
    ids, types = vocabulary.pair(fill(family, "a", None)["{query}"], "b")
    ours = frame.head + vocabulary.ids(["b"])[0] + frame.tail
    split = len(frame.head)
    if ours != ids or (family.token_types and types != [0] * split + [1] * (len(ids) - split)):
        raise UnsupportedModel(
            f"{vocabulary.path} builds pairs as {ids} where the family {family.name} has {ours}; it does not belong to this model"
        )

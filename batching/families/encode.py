"""Text to token ids: one query and its documents, laid out as the family's reference does, cut where they are too long.

Blocking and made for a thread: the tokenizer runs outside the interpreter's lock. The query is tokenized once, the documents in one call;
numbers then move as arrays. The caller sets TOKENIZERS_PARALLELISM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batching.errors import InvalidRequest, UnsupportedModel
from batching.families.base import Family
from batching.families.bodies import LIMIT_SETTING, Room, TokenCache, not_text, tokenize_bodies
from batching.families.card import ModelCard, Side
from batching.families.cut import CHARS_PER_TOKEN, MARGIN_CHARS, first_tokens
from batching.families.layout import Frame, Layout, check_native_pair
from batching.families.listwise import ListLayout, lay_out
from batching.families.pictures import Marks, split, weave
from batching.families.vocabulary import Vocabulary
from batching.tiles import Pixels
from batching.types import Int32s, Sequences


@dataclass(frozen=True, slots=True)
class Encoded:
    """One request in tokens. `sequences` in the order of the documents (the shared sequence first); `truncated` bool [n]; `pair_tokens`
    int32 [n]: real tokens of every pair, those of a shared sequence counted in each; `query_tokens`: tokens of the query's part.
    """

    sequences: Sequences
    truncated: NDArray[np.bool_]
    pair_tokens: Int32s
    query_tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A request's tokens around its documents: `lead` is the shared sequence (None: there is none), `room` what is left for a document,
    `seen` how many tokens of `lead` are attended to (0: all)."""

    frame: Frame
    lead: list[int] | None
    head: list[int]
    query_tokens: int
    room: int
    seen: int


@dataclass(frozen=True, slots=True)
class Asked:
    """How one request is to be tokenized; `wanted` is its max_length, `limit` that with what the family does not count."""

    instruction: str | None
    wanted: int
    limit: int
    document_tokens: int | None
    side: Side
    truncate: bool


class Encoder:
    """Tokenizes for one model. Safe to use from several threads."""

    def __init__(self, card: ModelCard, *, cache: TokenCache | None = None) -> None:
        """Open the tokenizer of `card`; raises UnsupportedModel when it does not fit the model."""
        self.card = card
        self.family = family = card.family
        pictures = family.pictures
        pieces = (*family.layout, *family.query_layout, *(pictures.layout if pictures else ()))
        tokens = (*(piece.token for piece in pieces if piece.token), *family.markers, *filter(None, [family.expand_with]))
        tokens += pictures.marks if pictures else ()
        folder, template = Path(card.path) / card.transformer, "".join(piece.text for piece in pieces)
        self.vocabulary = Vocabulary(folder, template, tokens, lowercase=card.lowercase)
        if self.vocabulary.size > card.vocab_size:
            raise UnsupportedModel(
                f"{self.vocabulary.path} gives ids up to {self.vocabulary.size - 1}, but the model has {card.vocab_size} embeddings; "
                "the tokenizer does not belong to this model"
            )
        self._list = ListLayout(family, self.vocabulary) if family.unit == "list" else None
        self._layout = Layout(family, family.layout, self.vocabulary)
        self._query_layout = Layout(family, family.query_layout, self.vocabulary) if family.query_layout else None
        self._filling = [filling_of(family, self.vocabulary)] if family.expand_to else []
        self._outside = sum(self._layout.sizes[number] for number in family.outside)
        self._pictured = Layout(family, pictures.layout, self.vocabulary) if pictures else None
        self._marks = Marks.of(pictures, self.vocabulary, card.config) if pictures else None
        self._cache = cache if self._layout.cacheable and (self._pictured is None or self._pictured.around == self._layout.around) else None
        if family.native_pair:
            check_native_pair(family, self.vocabulary)

    def encode(
        self,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        max_length: int | None = None,
        truncate: bool = True,
        side: Side | None = None,
        document_tokens: int | None = None,
        images: Sequence[Pixels | None] | None = None,
    ) -> Encoded:
        """Lay out `query` with each of `documents` in at most `max_length` tokens (None: the reference's own), cutting only documents.

        `side`: where to cut them (None: the card's). `document_tokens`: the most tokens to keep of one document.
        `images`: each document's tiles, uint8 [k, bytes of a tile], or None; their tokens come on top of `max_length`.
        Raises InvalidRequest naming the field, its tokens, the limit and the setting when the query is too long, or, without
        `truncate`, a document.
        """
        wanted = max_length or self.card.default_max_length
        limit = min(wanted + self._outside, self.card.max_length)
        if self._list is not None:
            return self._encode_list(self._list, query, documents, instruction, limit, document_tokens, truncate=truncate)
        asked = Asked(instruction, wanted, limit, document_tokens, side or self.card.side, truncate)
        if images is not None and any(image is not None for image in images):
            return self._encode_pictured(query, documents, images, asked)
        return self._encode_pairs(self._layout, query, documents, asked)

    def _encode_pairs(self, layout: Layout, query: str, documents: Sequence[str], asked: Asked, places: tuple[int, ...] = ()) -> Encoded:
        plan = self._plan(layout, query, asked.instruction, asked.limit, len(documents))
        texts, clipped = self._prepare(documents)
        room = min(bound for bound in (plan.room, asked.wanted, asked.document_tokens, self.family.document_tokens) if bound)
        space = Room(asked.limit, room, plan.frame.before, plan.frame.after, places)
        bodies, truncated = tokenize_bodies(self.vocabulary, texts, space, side=asked.side, truncate=asked.truncate, cache=self._cache)
        sequences = assemble(plan.lead, plan.head, bodies, plan.frame.tail, token_types=self.family.token_types, seen=plan.seen)
        pair_tokens = sequences.lengths if plan.lead is None else sequences.lengths[1:] + np.int32(len(plan.lead))
        return Encoded(sequences, truncated | clipped, pair_tokens, plan.query_tokens)

    def _encode_pictured(self, query: str, documents: Sequence[str], images: Sequence[Pixels | None], asked: Asked) -> Encoded:
        """Documents with an image in their own layout, the others as ever. Raises InvalidRequest for a model that takes none."""
        if self._pictured is None or self._marks is None:
            raise InvalidRequest(f"{self.card.name} ranks text only, and the request has images", field="documents")
        groups = [
            (self._encode_pairs(layout, query, [documents[place] for place in places], asked, tuple(places)), places)
            for layout, places in zip((self._layout, self._pictured), split(images), strict=True)
            if places
        ]
        sequences, order = weave([(found.sequences, places) for found, places in groups], images, self._marks, self._pictured.first)
        truncated = np.concatenate([found.truncated for found, _ in groups])[order]
        return Encoded(sequences, truncated, sequences.lengths, groups[0][0].query_tokens)

    def _plan(self, layout: Layout, query: str, instruction: str | None, limit: int, count: int) -> Plan:
        """Tokenize all but the documents; raises InvalidRequest when the query is over its share of `limit`, since a query is never cut."""
        most = self._most(limit)
        try:
            if len(query) > most * CHARS_PER_TOKEN + MARGIN_CHARS:
                self._check_query(query, most, limit)
            frame = layout.frame(query, instruction)
            asked = self._query_layout.frame(query, instruction) if self._query_layout else None
            query_tokens = (asked or frame).query_tokens
            if query_tokens > most or not query_tokens:
                query_tokens = self._check_query(query, most, limit)
        except TypeError as error:
            raise not_text((query, instruction or ""), "query") from error
        lead, head, seen = None, frame.head, 0
        if asked is not None:
            lead = asked.head + asked.tail
            seen = 0 if self.family.expansion_seen or len(lead) >= self.family.expand_to else len(lead)
            lead += self._filling * (self.family.expand_to - len(lead))
        elif frame.shared and count > 1:
            lead, head = frame.head, []
        room = limit - len(frame.head) - len(frame.tail)
        if room < 1 or (asked is not None and lead is not None and len(lead) > limit):
            raise InvalidRequest(
                f"query and template fill max_length {limit} ({self.limited_by(limit)}) and leave no room for documents", field="query"
            )
        return Plan(frame, lead, head, query_tokens, room, seen)

    def _encode_list(
        self,
        layout: ListLayout,
        query: str,
        documents: Sequence[str],
        instruction: str | None,
        limit: int,
        document_tokens: int | None,
        *,
        truncate: bool,
    ) -> Encoded:
        texts, clipped = self._prepare(documents)
        try:
            query_tokens = self._check_query(query, self._most(limit), limit)
            self.vocabulary.ids([instruction or ""])
        except TypeError as error:
            raise not_text((query, instruction or ""), "query") from error
        bounds = (limit - query_tokens, document_tokens, self.family.document_tokens)
        room = min(bound for bound in bounds if bound)
        try:
            prompts = layout.encode(query, texts, instruction, limit=limit, room=room, longest=self.card.max_length, truncate=truncate)
        except TypeError as error:
            raise not_text(texts, "documents") from error
        sequences, truncated, sizes = lay_out(prompts)
        return Encoded(sequences, truncated | clipped, sizes, query_tokens)

    def limited_by(self, limit: int) -> str:
        """What a caller may be told to look at who needs more than `limit` tokens: over the model's own, no setting helps."""
        return LIMIT_SETTING if limit < self.card.max_length else f"{self.card.name}'s own"

    def _most(self, limit: int) -> int:
        """Tokens that a query may have."""
        return min(int((limit - self._outside) * self.family.query_share), self.family.query_tokens or limit)

    def _check_query(self, query: str, most: int, limit: int) -> int:
        """The query's own tokens; raises InvalidRequest when there are more than `most`."""
        ids, complete = first_tokens(self.vocabulary, query, most)
        if len(ids) > most:
            count = len(ids) if complete else f"more than {most}"
            raise InvalidRequest(
                f"query has {count} tokens, at most {most} of max_length {limit} ({self.limited_by(limit)}) are allowed; "
                "queries are never cut",
                field="query",
            )
        return len(ids)

    def _prepare(self, documents: Sequence[str]) -> tuple[Sequence[str], NDArray[np.bool_]]:
        """The documents as the reference takes them, and which lost characters by that."""
        chars = self.family.document_chars
        texts = [document.strip() for document in documents] if self.family.strip else documents
        clipped = np.zeros(len(texts), np.bool_)
        if chars is not None:
            clipped = np.fromiter((len(text) > chars for text in texts), np.bool_, len(texts))
            texts = [text[:chars] for text in texts]
        return texts, clipped


def assemble(
    lead: list[int] | None, head: list[int], bodies: Sequence[Int32s], tail: list[int], *, token_types: bool, seen: int = 0
) -> Sequences:
    """Lay `head`, body, `tail` end to end for every body, behind the shared sequence `lead` if there is one, split at `seen`."""
    first, last = np.array(head, np.int32), np.array(tail, np.int32)
    parts: list[Int32s] = [] if lead is None else [np.array(lead, np.int32)]
    for body in bodies:
        parts += (first, body, last)
    lengths = np.fromiter(map(len, bodies), np.int32, len(bodies)) + np.int32(len(head) + len(tail))
    splits = np.full(len(bodies), len(head) if token_types else 0, np.int32)
    if lead is not None:
        lengths = np.concatenate((np.array([len(lead)], np.int32), lengths))
        splits = np.concatenate((np.array([seen], np.int32), splits))
    return Sequences(np.concatenate(parts), lengths, splits, lead is not None, len(bodies))


def filling_of(family: Family, vocabulary: Vocabulary) -> int:
    """The token that fills queries up: the family's own, the mask token, or, in a decoder without one, the end's."""
    if family.expand_with is not None:
        return vocabulary.token(family.expand_with)
    return vocabulary.role("mask" if "mask" in vocabulary.roles else "eos")

"""The documents' own part of a request: tokenized in one call, from the cache where they were seen before, cut to the room there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from batching.errors import InvalidRequest
from batching.families.card import Side
from batching.families.cut import CHARS_PER_TOKEN, MARGIN_CHARS, first_tokens, last_tokens
from batching.families.vocabulary import Vocabulary
from batching.types import Int32s

LIMIT_SETTING = "RERANKER_MAX_LENGTH"


class TokenCache(Protocol):
    """Keeps token ids of documents that were seen before. Must be safe to use from several threads."""

    def get(self, text: str) -> tuple[Int32s, bool] | None:
        """The ids put for this text and whether they are all of its ids, or None."""
        ...

    def put(self, text: str, ids: Int32s, complete: bool) -> None:
        """Keep `ids`, int32, of `text`: all of them, or its first ones."""
        ...


class Room(msgspec.Struct, frozen=True):
    """Where documents go: `room` tokens each, of at most `limit` in all; `before` and `after` are tokenized together with each document."""

    limit: int
    room: int
    before: str = ""
    after: str = ""
    places: tuple[int, ...] = ()
    """Of these documents in the request, where they are not all."""

    def place(self, number: int) -> int:
        """The place in the request of the document at `number`."""
        return self.places[number] if self.places else number


def tokenize_bodies(
    vocabulary: Vocabulary, documents: Sequence[str], space: Room, *, side: Side, truncate: bool, cache: TokenCache | None
) -> tuple[list[Int32s], NDArray[np.bool_]]:
    """Ids of each document, with what is around it, in at most `space.room` tokens; and which were cut, bool [n].

    Raises InvalidRequest naming the document when it is too long and `truncate` is false, or when it is not text that UTF-8 can hold.
    """
    found = _tokenize(vocabulary, documents, space, side, cache if side == "right" else None)
    truncated = np.fromiter((len(ids) > space.room or not complete for ids, complete in found), np.bool_, len(found))
    if np.count_nonzero(truncated):
        if not truncate:
            raise _too_long(int(truncated.argmax()), found, space)
        before, after = vocabulary.arrays([space.before, space.after])
        for number in np.flatnonzero(truncated):
            found[number] = (_cut(found[number][0], space.room, before, after, side), True)
    return [ids for ids, _ in found], truncated


def _tokenize(
    vocabulary: Vocabulary, documents: Sequence[str], space: Room, side: Side, cache: TokenCache | None
) -> list[tuple[Int32s, bool]]:
    """Ids of every document, and whether they are all; where not, they are more than the room."""
    found: list[tuple[Int32s, bool] | None] = [None] * len(documents)
    if cache is not None:
        kept = [cache.get(document) for document in documents]
        found = [entry if entry and (entry[1] or len(entry[0]) > space.room) else None for entry in kept]
    wanted = [number for number, entry in enumerate(found) if entry is None]
    chars = space.room * CHARS_PER_TOKEN + MARGIN_CHARS
    short = [number for number in wanted if len(documents[number]) <= chars]
    try:
        batch = vocabulary.arrays([f"{space.before}{documents[number]}{space.after}" for number in short])
        for number, ids in zip(short, batch, strict=True):
            found[number] = (ids, True)
        cutter = first_tokens if side == "right" else last_tokens
        for number in wanted:
            if found[number] is None:
                found[number] = cutter(vocabulary, f"{space.before}{documents[number]}{space.after}", space.room)
    except TypeError as error:
        raise not_text(documents, "documents", space.places) from error
    done = [entry for entry in found if entry is not None]
    if cache is not None:
        for number in wanted:
            cache.put(documents[number], *done[number])
    return done


def _cut(ids: Int32s, room: int, before: Int32s, after: Int32s, side: Side) -> Int32s:
    """Keep what fits of a document; the layout's own text around it stays."""
    if side == "right":
        return np.concatenate((ids[: room - len(after)], after)) if len(after) else ids[:room]
    kept = ids[len(ids) - (room - len(before)) :]
    return np.concatenate((before, kept)) if len(before) else kept


def _too_long(number: int, found: list[tuple[Int32s, bool]], space: Room) -> InvalidRequest:
    ids, complete = found[number]
    name = f"documents[{space.place(number)}]"
    count = f"{len(ids)}" if complete else f"more than {space.room}"
    return InvalidRequest(
        f"{name} has {count} tokens, at most {space.room} fit beside the query in max_length {space.limit} ({LIMIT_SETTING}), "
        "and truncation is off",
        field=name,
    )


def not_text(texts: Sequence[str], field: str, places: Sequence[int] = ()) -> InvalidRequest:
    """The error for the first of `texts` that the tokenizer can't read: a lone surrogate stands in it. `places` as in `Room`."""
    number = next((place for place, text in enumerate(texts) if not _is_text(text)), 0)
    name = f"{field}[{places[number] if places else number}]" if field == "documents" else field
    return InvalidRequest(f"{name} holds characters that UTF-8 can't express (a lone surrogate)", field=name)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

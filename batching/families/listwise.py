"""A listwise family's prompt: all documents of a request in one sequence, in blocks of a sequence each where there are too many of them.

Blocks are the reference's (JinaForRanking.rerank): one is full with 125 documents, or when, beside two times the query, it could not hold
another document of the longest kind.

The layout's pieces are, in order: fixed text, opening, item, its marker, what closes an item, the query's last mention, its marker, what
closes that, fixed text. Text between two markers is tokenized as one string, as the reference has it. Cut on the right only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batching.errors import InvalidRequest
from batching.families.base import Family
from batching.families.bodies import LIMIT_SETTING, Room, tokenize_bodies
from batching.families.cut import first_tokens
from batching.families.layout import fill
from batching.families.slots import render
from batching.families.vocabulary import Vocabulary
from batching.types import Int32s, Sequences

MAX_DOCUMENTS = 125
"""In one prompt, as the reference."""
MOST_BYTES = 4
"""Of one character, and so the most tokens that it can be."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: its ids, the tokens that each of its documents takes (the first's with all that is around them), which were cut."""

    ids: Int32s
    sizes: Int32s
    truncated: NDArray[np.bool_]


class ListLayout:
    """Builds prompts for one tokenizer."""

    def __init__(self, family: Family, vocabulary: Vocabulary) -> None:
        self._family = family
        self._vocabulary = vocabulary
        texts = [piece.text for piece in family.layout]
        self._opening, self._item, self._item_end, self._ask = texts[1], texts[2], texts[4], texts[5]
        self._head, self._marker = vocabulary.literal(texts[0]), vocabulary.literal(texts[3])
        self._tail = [token for text in texts[6:] for token in vocabulary.literal(text)]

    def encode(
        self, query: str, documents: Sequence[str], instruction: str | None, *, limit: int, room: int, longest: int, truncate: bool
    ) -> list[Prompt]:
        """The prompts of one request: documents of at most `room` tokens each, prompts of at most `longest`; `limit` is for messages."""
        slots = fill(self._family, query, instruction)
        waiting = self._blocks(query, documents, room, longest)[::-1]
        prompts: list[Prompt] = []
        while waiting:
            first, last = waiting.pop()
            prompt = self._prompt(slots, documents[first:last], Room(limit, room), first=first, truncate=truncate)
            if len(prompt.ids) <= longest:
                prompts.append(prompt)
            elif last - first == 1:
                raise InvalidRequest(
                    f"query and document fill more than the model's {longest} tokens; lower {LIMIT_SETTING}", field="query"
                )
            else:
                middle = (first + last) // 2
                waiting += [(middle, last), (first, middle)]
        return prompts

    def _blocks(self, query: str, documents: Sequence[str], room: int, longest: int) -> list[tuple[int, int]]:
        """Documents [first, last) of every block."""
        capacity = longest - 2 * len(self._vocabulary.ids([query])[0])
        sizes = [min(room, MOST_BYTES * len(document)) for document in documents]
        if sum(sizes) + room >= capacity:
            sizes = [len(first_tokens(self._vocabulary, document, room)[0]) for document in documents]
        blocks, first, left = [], 0, capacity
        for number, size in enumerate(sizes):
            left -= min(size, room)
            if number + 1 - first >= MAX_DOCUMENTS or left <= room:
                blocks.append((first, number + 1))
                first, left = number + 1, capacity
        return blocks if first == len(sizes) else [*blocks, (first, len(sizes))]

    def _prompt(self, slots: dict[str, str], documents: Sequence[str], space: Room, *, first: int, truncate: bool) -> Prompt:
        befores = list(self._befores(slots, len(documents)))
        own = np.array([len(ids) for ids in self._vocabulary.ids(befores)], np.int32)
        texts = [before + document for before, document in zip(befores, documents, strict=True)]
        wide = Room(space.limit, space.room + int(own.max()) + 1)
        bodies, _ = tokenize_bodies(self._vocabulary, texts, wide, side="right", truncate=True, cache=None)
        sizes = np.array([len(body) for body in bodies], np.int32)
        # the widest room holds one token more than any body may keep, so a body that was cut there shows here as too long
        truncated = sizes > space.room + own
        if truncated.any() and not truncate:
            raise self._too_long(first + int(truncated.argmax()), space)
        asked = self._vocabulary.ids([render(self._item_end + self._ask, slots)])[0]
        marker = np.array(self._marker, np.int32)
        parts: list[Int32s] = [np.array(self._head, np.int32)]
        for body, room in zip(bodies, (space.room + own).tolist(), strict=True):
            parts += (body[:room], marker)
        ids = np.concatenate((*parts, np.array(asked + self._tail, np.int32)))
        taken = np.minimum(sizes, space.room + own) + np.int32(len(marker))
        taken[0] += len(ids) - taken.sum()
        return Prompt(ids, taken.astype(np.int32), truncated)

    def _befores(self, slots: dict[str, str], count: int) -> Iterator[str]:
        """The text between the marker before each document and the document."""
        for number in range(count):
            numbered = {**slots, "{count}": str(count), "{number}": str(number)}
            item = self._item.replace("{document}", "")
            yield render(self._opening + item if number == 0 else self._item_end + item, numbered)

    def _too_long(self, number: int, space: Room) -> InvalidRequest:
        return InvalidRequest(
            f"documents[{number}] has more than the {space.room} tokens that fit beside the query in max_length {space.limit} "
            f"({LIMIT_SETTING}), and truncation is off",
            field=f"documents[{number}]",
        )


def lay_out(prompts: Sequence[Prompt]) -> tuple[Sequences, NDArray[np.bool_], Int32s]:
    """All prompts as sequences of one entry, which documents were cut, and tokens per document."""
    lengths = np.array([len(prompt.ids) for prompt in prompts], np.int32)
    sizes = np.concatenate([prompt.sizes for prompt in prompts])
    sequences = Sequences(np.concatenate([prompt.ids for prompt in prompts]), lengths, np.zeros(len(prompts), np.int32), False, len(sizes))
    return sequences, np.concatenate([prompt.truncated for prompt in prompts]), sizes

"""The nouns of a model family: how a pair is laid out in tokens, what is read from the model, and what the number means.

A family is declarative and knows no torch: tokenizing (`batching/families/encode.py`) interprets the layout, `batching/scoring`
interprets the reading. Sources of every recipe are named in its own file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Special = Literal["bos", "cls", "sep", "eos"]
"""A special token, named by its role in the tokenizer's files."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a layout that is tokenized on its own.

    `text` may hold the slots `{query}`, `{document}` and `{instruction}`. Only what stands in the layout itself may become a special
    token, never what a user writes into a slot. `special` puts one special token instead of text.
    """

    text: str = ""
    special: Special | None = None


Unit = Literal["pair", "embedding", "late", "list"]
Read = Literal["first", "last", "mean", "tokens", "markers"]
Activation = Literal["sigmoid", "identity", "cosine", "softmax"]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One model family, as data.

    `unit`: "pair": one sequence per (query, document); "embedding": query and documents alone, scored by similarity; "late": the same with
    a vector per token; "list": all documents in one sequence. `layout` is the pair's (or the list's item's) pieces; for "embedding" and
    "late" it is the document's, and `query_layout` the query's. `shared_pieces`: with a causal model, how many leading pieces are the
    same for all documents of a request and may be computed once (0: none).
    """

    name: str
    unit: Unit = "pair"
    layout: tuple[Piece, ...]
    query_layout: tuple[Piece, ...] = ()
    default_instruction: str | None = None
    query_share: float = 0.75
    """The part of max_length that a query may fill; a longer query is refused, never cut."""
    token_types: bool = False
    position_offset: int | Literal["pad"] = 0
    """Added to every position; "pad" is pad_token_id + 1 (the RoBERTa tables)."""
    causal: bool = False
    shared_pieces: int = 0
    read: Read = "first"
    head: str = "model"
    """Which head in `batching/scoring/heads.py` turns the read rows into raw scores."""
    activation: Activation = "sigmoid"
    scale: float = 1.0
    shift: float = 0.0
    """score = activation((raw - shift) / scale)."""
    yes: str | None = None
    no: str | None = None
    """For heads read from the vocabulary: raw = logit(yes) - logit(no), or logit(yes) alone."""

"""The nouns of a model family: how a pair is laid out in tokens, what is read from the model, and what the number means.

A family is declarative and knows no torch: tokenizing (`batching/families/encode.py`) interprets the layout, `batching/scoring`
interprets the reading. Sources of every recipe are named in its own file.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Special = Literal["bos", "cls", "sep", "eos", "mask"]
"""A special token, named by its role in the tokenizer's files."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a layout that is tokenized on its own.

    `text` may hold the slots `{query}`, `{document}` and `{instruction}`. Only what stands in the layout itself may become a special
    token, never what a user writes into a slot: a piece with a slot is read without special tokens altogether, so a template's
    markers stand in pieces of their own. `special` puts one special token by its role instead of text, `token` one entry of the
    vocabulary by its name. A listwise layout has the slots `{count}` (documents in the list) and `{number}` (of the document) too.
    """

    text: str = ""
    special: Special | None = None
    token: str | None = None


Unit = Literal["pair", "embedding", "late", "list"]
Read = Literal["first", "last", "mean", "tokens", "markers"]
"""Rows of the last hidden states (after the model's final norm) that go to the head.

"first", "last": one row of each sequence; "mean": the mean of all its rows in float32; "tokens": every row (late interaction);
"markers": the rows whose id is one of `Family.markers`, documents in order, the query's last (listwise).
"""
Activation = Literal["sigmoid", "identity", "cosine", "softmax"]


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """How a family reads a document with an image.

    `marks`: tokens before an image, in place of each part of a tile, and behind the image; together they stand before `layout`, the pair's
    pieces, behind the special tokens that the tokenizer puts first. `side`: pixels of a square tile; `tokens`: what one tile becomes;
    `cost`: what seeing it costs beside them, in tokens of the language model. `detect` fills in these three.
    """

    marks: tuple[str, str, str]
    layout: tuple[Piece, ...]
    side: int = 0
    tokens: int = 0
    cost: int = 0

    @property
    def tile_bytes(self) -> int:
        """Bytes of one tile: red, green and blue of every pixel."""
        return self.side * self.side * 3


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One model family, as data.

    `unit`: "pair": one sequence per (query, document); "embedding": query and documents alone, scored by similarity; "late": the same with
    a vector per token; "list": all documents in one sequence. `layout` is the pair's (or the list's item's) pieces; for "embedding" and
    "late" it is the document's, and `query_layout` the query's. `shared_pieces`: with a causal model, how many leading pieces are the
    same for all documents of a request and may be computed once (0: none).

    `detect` gives a checkpoint its own copy, in which what its files decide (`read`, `activation`, prompts) is already filled in.
    """

    name: str
    architectures: tuple[str, ...] = ()
    """Class names in config.json's `architectures` that this family claims without looking further."""
    unit: Unit = "pair"
    layout: tuple[Piece, ...]
    query_layout: tuple[Piece, ...] = ()
    query_text: str = "{query}"
    """What the slot `{query}` becomes when there is no instruction, given or default."""
    instructed_text: str | None = None
    """What the slot `{query}` becomes with an instruction, where the family has no slot of its own for one."""
    instruction_text: str = "{instruction}"
    """What the slot `{instruction}` becomes when an instruction is given or there is a default one."""
    default_instruction: str | None = None
    default_max_length: int = 512
    """max_length of the reference, where the caller sets none."""
    query_share: float = 0.75
    """The part of max_length that a query may fill; a longer query is refused, never cut."""
    query_tokens: int | None = None
    """The most tokens of a query that the reference reads; a longer one is refused."""
    document_tokens: int | None = None
    """The most tokens of one document that the reference reads, whatever max_length allows."""
    document_chars: int | None = None
    """The most characters of one document that the reference reads."""
    longest: int | None = None
    """The longest sequence that the model was made for, where its config.json promises more."""
    outside: tuple[int, ...] = ()
    """Pieces that the reference's max_length does not count: it grows by their tokens. A piece named twice counts twice."""
    strip: bool = False
    """The reference strips white space around query and document."""
    native_pair: bool = False
    """The layout must be what the tokenizer's own template for a pair gives; checked when the tokenizer is opened."""
    native_single: bool = False
    """The tokenizer's own template for one text puts its special tokens around the layout, which holds none at its ends."""
    joint: bool = False
    """The reference tokenizes neighbouring pieces without special tokens as one string. Pieces are cut where that makes no difference; when
    a probe shows that with this tokenizer it does, they are joined again, and nothing is shared between documents."""
    token_types: bool = False
    position_offset: int | Literal["pad"] = 0
    """Added to every position; "pad" is pad_token_id + 1 (the RoBERTa tables)."""
    causal: bool = False
    shared_pieces: int = 0
    read: Read = "first"
    head: str = "model"
    """Which head in `batching/scoring/heads.py` turns the read rows into raw scores.

    "model": the checkpoint's own classification head; "cosine", "dot": similarity of two pooled vectors; "maxsim": late interaction;
    "vocabulary": rows `yes` (and `no`) of the output embedding; "modules": the chain of sentence-transformers modules behind the pooling;
    "projector": listwise markers through an MLP, then cosine.
    """
    labels: tuple[int, ...] = ()
    """For a classification head of two labels: raw = logit of the first named less that of the second. Empty: the head has one."""
    head_weights: tuple[str, ...] = ()
    """Endings of tensor names that must be among the weights; without them the head would be random."""
    activation: Activation = "sigmoid"
    scale: float = 1.0
    shift: float = 0.0
    """score = activation((raw - shift) / scale)."""
    yes: str | None = None
    no: str | None = None
    """For heads read from the vocabulary: raw = logit(yes) - logit(no), or logit(yes) alone."""
    markers: tuple[str, ...] = ()
    """For a listwise family: the tokens whose rows are read, the document's first and the query's last."""
    expand_to: int = 0
    """For late interaction: queries shorter than this many tokens are filled up with the mask token, or with the end's."""
    expand_with: str | None = None
    """For late interaction: another token to fill queries up with, by its name."""
    expansion_seen: bool = True
    """For late interaction: the query's tokens attend to what it was filled up with. If not, the filling attends to the query's own tokens
    alone, not even to itself, and still takes part in the score."""
    pictures: Pictures | None = None
    """None: documents are text."""
    skip: tuple[str, ...] = ()
    """For late interaction: tokens of documents that take no part in the score (punctuation), though others attend to them."""

"""A checkpoint's tokenizer, deaf to special tokens, and the ids of those tokens for the layouts.

Users' text is read with `</s>` or `<|im_end|>` as ordinary characters, so that no query or document can close a template or add a
marker. For text without such strings the ids are those of the tokenizer as it was shipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from tokenizers import Tokenizer

from batching.errors import UnsupportedModel
from batching.families.base import Special
from batching.families.checkpoint import read_json, reading
from batching.families.overrides import bert_normalizer, lowercased, overridden
from batching.families.plain import Plain
from batching.families.spread import Spread
from batching.families.words import open_words
from batching.types import Int32s

UNMATCHED = " special {number} "
"""New name of a special token among the pieces a word may be split into; words hold no spaces, so it can't be met."""

UNNAMED = ({"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}, {"cls": "<s>", "sep": "</s>", "mask": "<mask>"})
"""Special tokens by role where the files name none, as transformers' classes for BERT and RoBERTa have them."""

SPACE = "\u2581"
"""What SentencePiece's vocabularies write for a space."""


class Vocabulary:
    """The tokenizer of one checkpoint: ids of users' text, of a template's text, and of special tokens by role."""

    def __init__(self, directory: Path, template: str = "", tokens: Iterable[str] = (), *, lowercase: bool = False) -> None:
        """Open the tokenizer in `directory`; users can't write the tokens in `template`, the layout's own text, nor those in `tokens`.
        `lowercase`: read all text in lower case."""
        self.spread: Spread | None = None
        """Tokenizes a large batch by parts, where somebody has threads for that."""
        with reading(directory):
            spec = _read_spec(directory)
            self._open(directory, lowercased(spec) if lowercase else spec, template, tokens)
        self._prove_deaf()

    def _open(self, directory: Path, spec: dict[str, Any], template: str, tokens: Iterable[str]) -> None:
        spec["truncation"] = spec["padding"] = None
        self.path = directory / "tokenizer.json"
        self.roles = read_roles(directory) or _unnamed_roles(spec)
        self.reserved = _reserved(spec, template, {*self.roles.values(), *tokens})
        self.model: dict[str, Any] = {key: value for key, value in spec["model"].items() if key not in ("vocab", "merges")}
        pieces = _pieces(spec)
        self.max_piece_chars = max(map(len, pieces), default=1)
        self.splits_at_spaces = not any(SPACE in piece.lstrip(SPACE) for piece in pieces)
        """Whether a space between two words always ends a token: no piece reaches over one."""
        deafened = _deafened(spec, self.reserved)
        self.tokenizer = open_tokenizer(deafened, self.path)
        self.tokenizer.encode_special_tokens = True
        self._plain = Plain.of(self.tokenizer, deafened)
        with _opening(self.path):
            self._words = open_words(deafened, lambda texts: _encode(self.tokenizer, texts), self._tokenize)
        self._markup = re.compile("(" + "|".join(re.escape(content) for content in sorted(self.reserved, key=len, reverse=True)) + ")")
        self._unknown = _unknown(spec)

    @property
    def size(self) -> int:
        """The highest id that the tokenizer can give, plus one."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def role(self, role: Special) -> int:
        """The id of the special token with this role; raises UnsupportedModel when the tokenizer names none."""
        content = self.roles.get(role, "")
        if content not in self.reserved:
            raise UnsupportedModel(f"{self.path} has no {role}_token, which this model family needs; is tokenizer_config.json missing?")
        return self.reserved[content]

    def token(self, content: str) -> int:
        """The id of one token by its name; raises UnsupportedModel when the vocabulary has none."""
        if content not in self.reserved:
            raise UnsupportedModel(f"{self.path} has no token {content}, which this model family needs; it does not belong to this model")
        return self.reserved[content]

    def literal(self, text: str) -> list[int]:
        """Ids of a template's own text; special tokens are recognised."""
        ids: list[int] = []
        for number, part in enumerate(self.split(text)):
            if number % 2:
                ids.append(self.reserved[part])
            elif part:
                ids.extend(self.ids([part])[0])
        return ids

    def split(self, text: str) -> list[str]:
        """A template's text cut at its special tokens, which stand at the odd places."""
        return self._markup.split(text) if self.reserved else [text]

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Ids of users' texts, one list each; no special token is ever among them."""
        return [ids.tolist() for ids in self.arrays(texts)]

    def arrays(self, texts: list[str]) -> list[Int32s]:
        """As `ids`; not to be written to. Raises TypeError for what is not text."""
        words = self._words
        if words is None:
            return self._library(texts)
        found = [words.ids(text) if words.reads(text) else None for text in texts]
        others = iter(self._library([text for text, ids in zip(texts, found, strict=True) if ids is None]))
        return [next(others) if ids is None else ids for ids in found]

    def has_met(self, texts: list[str]) -> bool:
        """Whether words of `texts` only have to be looked up, by the last one."""
        words = self._words
        return words is not None and all(map(words.reads, texts)) and words.has_met(texts[-1])

    def _library(self, texts: list[str]) -> list[Int32s]:
        """Ids by the library itself."""
        if not texts:
            return []
        found = self._tokenize(texts) if self.spread is None else self.spread.map(self._tokenize, texts)
        return [np.array(ids, np.int32) for ids in found]

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        plain = self._plain
        if plain is None:
            return _encode(self.tokenizer, texts)
        kinds = [plain.reads(text) for text in texts]
        if all(kinds):
            return _encode(plain.tokenizer, [*map(plain.normalized, texts)])
        found: list[list[int]] = [[]] * len(texts)
        for tokenizer, wanted in ((plain.tokenizer, True), (self.tokenizer, False)):
            places = [place for place, kind in enumerate(kinds) if kind is wanted]
            part = [plain.normalized(texts[place]) if wanted else texts[place] for place in places]
            for place, ids in zip(places, _encode(tokenizer, part) if part else (), strict=True):
                found[place] = ids
        return found

    def single_frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer's own template puts before and behind one text."""
        encoding = self.tokenizer.encode("a")
        text = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        if not text:
            raise UnsupportedModel(f"{self.path} gives no token for the letter a; it does not fit this model")
        return list(encoding.ids[: text[0]]), list(encoding.ids[text[-1] + 1 :])

    def pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Ids and token types of a pair by the tokenizer's own template."""
        encoding = self.tokenizer.encode(first, second)
        return list(encoding.ids), list(encoding.type_ids)

    def _prove_deaf(self) -> None:
        """Prove on every reserved token that users' text can't produce it."""
        texts = [f"a {content}{content} b" for content in self.reserved]
        for (content, number), ids in zip(self.reserved.items(), self.ids(texts), strict=True):
            if number in ids and number != self._unknown:
                raise UnsupportedModel(f"{self.path} would read the special token {content} from a user's text, which is not safe to serve")


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def read_roles(directory: Path) -> dict[str, str]:
    """Contents of the special tokens by role, from tokenizer_config.json and special_tokens_map.json (the former wins)."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        content = read_json(directory / name)
        for role in (*get_args(Special), "pad", "unk"):
            value = content.get(f"{role}_token")
            if isinstance(value, dict):
                value = value.get("content")
            if isinstance(value, str):
                found[role] = value
    return found


def _unnamed_roles(spec: dict[str, Any]) -> dict[str, str]:
    """The roles of special tokens that the files do not name: those of the first kind that the tokenizer has all of."""
    special = {token["content"] for token in spec.get("added_tokens", []) if token["special"]}
    return next((roles for roles in UNNAMED if special >= {*roles.values()}), {})


def _read_spec(directory: Path) -> dict[str, Any]:
    spec = read_json(directory / "tokenizer.json")
    if spec:
        return overridden(spec, read_json(directory / "tokenizer_config.json"))
    if (directory / "vocab.txt").is_file():
        return _bert_spec(directory)
    what = "only a SentencePiece model" if list(directory.glob("*.model")) else "no tokenizer.json"
    raise UnsupportedModel(
        f"{directory} holds {what}; write tokenizer.json with transformers (AutoTokenizer, save_pretrained) or download again"
    )


def _bert_spec(directory: Path) -> dict[str, Any]:
    """The tokenizer.json that BERT's older vocab.txt stands for, as transformers BertTokenizer builds it."""
    config = read_json(directory / "tokenizer_config.json")
    lines = (directory / "vocab.txt").read_text("utf-8").split("\n")
    vocab = {line.rstrip("\r"): number for number, line in enumerate(lines) if line}
    special = {name: vocab.get(name) for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    if None in special.values():
        raise UnsupportedModel(f"{directory}/vocab.txt is not a BERT vocabulary and there is no tokenizer.json; download the model again")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}
    return {
        "version": "1.0",
        "added_tokens": [{"id": number, "content": name, **flags} for name, number in special.items()],
        "normalizer": bert_normalizer(config),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", special["[SEP]"]], "cls": ["[CLS]", special["[CLS]"]]},
        "decoder": None,
        "model": model,
    }


def _reserved(spec: dict[str, Any], template: str, named: set[str]) -> dict[str, int]:
    """Contents and ids of the tokens that no user may write: those called special, those named, those the template holds."""
    pieces = _pieces(spec)
    found = {name: pieces[name] for name in sorted(named) if name in pieces}
    added = {
        token["content"]: token["id"]
        for token in spec.get("added_tokens", [])
        if token.get("special") or token["content"] in named or (token["content"].strip() and token["content"] in template)
    }
    return found | added


def _pieces(spec: dict[str, Any]) -> dict[str, int]:
    """All pieces of the model's vocabulary with their ids, whatever its form."""
    vocab = spec["model"]["vocab"]
    return {piece: number for number, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else vocab


def _unknown(spec: dict[str, Any]) -> int | None:
    """The id that stands for characters outside the vocabulary, if the model has one."""
    model = spec["model"]
    listed = isinstance(model["vocab"], list)
    found = model.get("unk_id") if listed else model["vocab"].get(model.get("unk_token"))
    return found if isinstance(found, int) else None


def _deafened(spec: dict[str, Any], reserved: dict[str, int]) -> dict[str, Any]:
    """A copy of `spec` whose reserved tokens are all special (so that they can be switched off) and can't be met as pieces of words.

    In a BPE model a piece is met only by merges, and no merge leads to a special token, so its names can stay.
    """
    renamed = {content: UNMATCHED.format(number=number) for content, number in reserved.items()}
    model = dict(spec["model"])
    vocab = model["vocab"]
    if isinstance(vocab, list):
        model["vocab"] = [[renamed.get(piece, piece), score] for piece, score in vocab]
    elif model.get("type") == "WordPiece":
        model["vocab"] = {renamed.get(piece, piece): number for piece, number in vocab.items()}
        model["unk_token"] = renamed.get(model["unk_token"], model["unk_token"])
    else:
        renamed = {}
    added = [
        {**token, "content": renamed.get(token["content"], token["content"]), "special": token["special"] or token["content"] in reserved}
        for token in spec.get("added_tokens", [])
    ]
    return {**spec, "model": model, "added_tokens": added}


def open_tokenizer(spec: dict[str, Any], path: Path) -> Tokenizer:
    """The tokenizer that `spec` describes; `path` is for the message."""
    with _opening(path):
        return Tokenizer.from_str(msgspec.json.encode(spec).decode())


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turn what the library raises at a tokenizer it can't use into UnsupportedModel."""
    try:
        yield
    except Exception as error:  # the library raises nothing more precise
        raise UnsupportedModel(f"{path} can't be read: {error}") from error

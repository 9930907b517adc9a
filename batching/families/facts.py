"""What a checkpoint's small files say, gathered once for the rules of `detect`. Decides nothing."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from batching.errors import UnsupportedModel
from batching.families.checkpoint import Weights, read_any_json, read_json, read_weights

FOLDER = re.compile(r"(?!.*\.\.)[\w.-]{0,100}(/[\w.-]{1,100})?/?")
"""A module's folder: inside the checkpoint, at most two deep."""

LENGTH_KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
"""What sentence-transformers' first releases called sentence_KIND_config.json after, in the order in which it looks for them."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A checkpoint's files, read.

    `root` is its directory, `transformer` the folder of the base model below it. `config`, `sentence`
    (config_sentence_transformers.json), `length` (sentence_bert_config.json or an older name of it) and `tokenizer`
    (tokenizer_config.json) are {} where the file is not there. `modules`: (kind, folder) of modules.json. `names`: lower-case names that
    the checkpoint goes by, without their owners.
    """

    root: Path
    transformer: str
    config: dict[str, Any]
    sentence: dict[str, Any]
    length: dict[str, Any]
    tokenizer: dict[str, Any]
    modules: tuple[tuple[str, str], ...]
    weights: Weights
    names: frozenset[str]

    @property
    def folder(self) -> Path:
        """Where config.json, the weights and the tokenizer lie."""
        return self.root / self.transformer

    @property
    def architecture(self) -> str:
        """The class that the weights were saved from, or "" when config.json names none."""
        return next(iter(self.config.get("architectures") or []), "")

    @property
    def model_type(self) -> str:
        """config.json's model_type, "" where there is none."""
        return str(self.config.get("model_type") or "")

    @property
    def text_config(self) -> dict[str, Any]:
        """The part of config.json that describes the language model; all of it but for models with images."""
        nested = self.config.get("text_config") or self.config.get("llm_config")
        return nested if isinstance(nested, dict) else self.config

    @property
    def kinds(self) -> tuple[str, ...]:
        """The modules' class names, in order."""
        return tuple(kind for kind, _ in self.modules)

    @property
    def chat_template(self) -> str:
        """The checkpoint's chat template, "" where there is none."""
        path = self.folder / "chat_template.jinja"
        return path.read_text("utf-8") if path.is_file() else str(self.tokenizer.get("chat_template") or "")

    @cached_property
    def _tokenizer_json(self) -> dict[str, Any]:
        """Megabytes, read once; {} where there is none."""
        return read_json(self.folder / "tokenizer.json")

    @property
    def tokens(self) -> dict[str, int]:
        """All tokens of tokenizer.json with their ids."""
        spec = self._tokenizer_json
        vocab = spec.get("model", {}).get("vocab", {})
        pieces = vocab if isinstance(vocab, dict) else {piece: number for number, (piece, _) in enumerate(vocab)}
        return pieces | {token["content"]: token["id"] for token in spec.get("added_tokens", [])}

    @property
    def special(self) -> list[str]:
        """Special tokens of tokenizer.json, the longest first."""
        added = self._tokenizer_json.get("added_tokens", [])
        return sorted((token["content"] for token in added if token["special"] and token["content"]), key=len, reverse=True)

    def module(self, kind: str) -> dict[str, Any]:
        """config.json of the first module of this kind, {} where there is none."""
        folder = next((folder for name, folder in self.modules if name == kind), None)
        return {} if folder is None else read_json(self.root / folder / "config.json")

    def is_named(self, *parts: str) -> bool:
        """Whether one of the checkpoint's names holds one of `parts`."""
        return any(part in name for name in self.names for part in parts)


def read_facts(root: Path, name: str) -> Facts:
    """Read the files of the checkpoint in `root`; raises UnsupportedModel when one that is needed is missing or damaged."""
    if not root.is_dir():
        raise UnsupportedModel(f"{root} is not a directory; give a model's directory or its name on the hub")
    modules = _read_modules(root)
    transformer = next((folder for kind, folder in modules if kind == "Transformer"), "")
    folder = root / transformer
    config = read_json(folder / "config.json")
    if (folder / "adapter_config.json").is_file():
        # beside whole weights too: transformers puts it onto them where peft is installed, and ignores it where not
        raise UnsupportedModel(f"{folder} holds an adapter (PEFT, adapter_config.json); merge it into its base model and save that alone")
    if not config:
        raise UnsupportedModel(_why_no_config(folder))
    weights = read_weights(folder)
    written = str(config.get("_name_or_path") or "")
    names = {part.rstrip("/").rsplit("/", 1)[-1].lower() for part in (name, str(root), written)}
    return Facts(
        root=root,
        transformer=transformer,
        config=config,
        sentence=read_json(root / "config_sentence_transformers.json"),
        length=next(filter(None, (read_json(folder / f"sentence_{kind}_config.json") for kind in LENGTH_KINDS)), {}),
        tokenizer=read_json(folder / "tokenizer_config.json"),
        modules=modules,
        weights=weights,
        names=frozenset(names - {""}),
    )


def count_labels(facts: Facts) -> int:
    """Numbers that the classification head gives; num_labels wins over names, and without a word in config.json transformers assumes 2."""
    names = facts.config.get("id2label")
    return int(facts.config.get("num_labels") or (len(names) if isinstance(names, dict) else 2))


def _read_modules(root: Path) -> tuple[tuple[str, str], ...]:
    entries = read_any_json(root / "modules.json")
    if entries is None:
        return ()
    try:
        modules = tuple((str(entry["type"]).rsplit(".", 1)[-1], str(entry["path"])) for entry in entries)
    except (TypeError, KeyError) as error:
        raise UnsupportedModel(f"{root}/modules.json is not a list of modules; the checkpoint is damaged, download it again") from error
    strange = next((folder for _, folder in modules if not FOLDER.fullmatch(folder)), None)
    if strange is not None:
        raise UnsupportedModel(f"{root}/modules.json names the folder {strange[:80]!r}, which is not one inside the checkpoint")
    return modules


def _why_no_config(folder: Path) -> str:
    """One line: what the directory holds instead of a checkpoint, and what to do."""
    if any(folder.glob("*.gguf")):
        return f"{folder} holds GGUF weights, which are not supported; use the original checkpoint with config.json and model.safetensors"
    return f"{folder} has no config.json; it is not a checkpoint, or its download is incomplete"

"""What is known of one checkpoint before any weight is read: the facts that tokenizing, scoring and the answer need."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from batching.families.base import Activation, Family

Side = Literal["right", "left"]
"""The end of a document that is cut."""


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint on disk that can be served, as `detect` found it.

    `name` is the model as it was asked for, `path` its local directory, `transformer` the folder below it that holds config.json,
    weights and tokenizer ("" but for old sentence-transformers layouts). `family` is this checkpoint's own copy (pooling, prompts and the
    like filled in). `activation`, `scale` and `shift` are final: files of the checkpoint come before the family's defaults. `max_length`
    and `default_max_length` count tokens, specials included. `lowercase`: all text is read in lower case. `side`: where documents are
    cut unless a request says it. `config` is config.json. `modules` lists a sentence-transformers model's modules as (kind, folder).
    `revision` tells one set of files from another; it is not a hash of all weights.
    """

    name: str
    path: str
    transformer: str = ""
    family: Family
    architecture: str
    activation: Activation
    scale: float = 1.0
    shift: float = 0.0
    max_length: int
    default_max_length: int
    vocab_size: int
    lowercase: bool = False
    side: Side = "right"
    config: dict[str, Any]
    modules: tuple[tuple[str, str], ...] = ()
    revision: str
    weights_bytes: int

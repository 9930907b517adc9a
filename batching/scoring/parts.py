"""A checkpoint taken apart for its family: the body that every token passes, and the reader with the head.

One function per kind of head; which one, says the table at the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, MODEL_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard
from batching.scoring.batch import Reader, RowRead
from batching.scoring.bodies import packs
from batching.scoring.checkpoint import Allowed, folder, load_model, read_config
from batching.scoring.heads import ChainHead, LinearHead, OwnHead
from batching.scoring.late import LateReader
from batching.scoring.listwise import ListReader, Projector
from batching.scoring.modules import read_chain, read_embedding, read_projection
from batching.scoring.native import cut_off, native_tensors
from batching.scoring.options import ScoringOptions
from batching.scoring.readers import EmbeddingReader, PairReader, QueryCache
from batching.scoring.tensors import read_rows
from batching.scoring.vision import Vision, load_vision


@dataclass(frozen=True, slots=True)
class Source:
    """What the functions below work from."""

    card: ModelCard
    config: PreTrainedConfig
    dtype: torch.dtype
    options: ScoringOptions


@dataclass(frozen=True, slots=True)
class Parts:
    """Body and reader of one checkpoint, on the CPU. `veils`: some tokens are not to be attended to, which only a packed forward knows."""

    base: PreTrainedModel
    reader: Reader
    veils: bool = False
    vision: Vision | None = None
    """Reads images, where the family takes them."""


def take_apart(card: ModelCard, dtype: torch.dtype, options: ScoringOptions) -> Parts:
    """Load `card`'s checkpoint and part body from head; raises UnsupportedModel."""
    family = card.family
    take = TAKERS.get((family.unit, family.head))
    if take is None:
        raise UnsupportedModel(f"{card.name}: there is no head {family.head!r} for the unit {family.unit!r}")
    return take(Source(card, read_config(card), dtype, options))


def classifier(source: Source) -> Parts:
    """A sequence-classification checkpoint with one label: its own head, or a decoder's one row."""
    card, config = source.card, source.config
    if config.num_labels != (len(card.family.labels) or 1):
        raise UnsupportedModel(f"{card.name}: num_labels is {config.num_labels}; a reranker has 1")
    kind = native_class(card, config, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
    if issubclass(kind, GenericForSequenceClassification):
        return decoder_classifier(source)
    model = load_model(card, kind, config, source.dtype, tensors=native_tensors(card, folder(card)))
    base = getattr(model, model.base_model_prefix)
    return Parts(base, PairReader(row_read(card), OwnHead(model), causal=card.family.causal))


def decoder_classifier(source: Source) -> Parts:
    """A decoder with a `score` row; its logits may have a temperature (models.md 4.8)."""
    card = source.card
    weight = read_rows(folder(card), "score.weight")
    if weight is None:
        raise UnsupportedModel(
            f"{card.name}: score.weight is missing from its weights, and would be random; is this a reranker's checkpoint?"
        )
    row = weight[card.family.labels[0]] - weight[card.family.labels[1]] if card.family.labels else weight[0]
    head = LinearHead(row, temperature=float(card.config.get("temperature") or 1.0))
    base = body(source, Allowed(extra=("score.",)))
    pictures = card.family.pictures
    vision = None if pictures is None else load_vision(card, pictures, base.config.hidden_size, source.dtype)
    return Parts(base, PairReader(row_read(card), head, causal=card.family.causal), vision=vision)


def vocabulary(source: Source) -> Parts:
    """A language model whose score is one row of its output embedding, or one row less another; only those rows are kept.

    Where config.json ties it to the input's and the files hold one of its own all the same, transformers reads that, and so it is here.
    """
    card = source.card
    tokens = [token for token in (card.family.yes, card.family.no) if token is not None]
    names = ["lm_head.weight", *(["model.embed_tokens.weight"] if source.config.get_text_config().tie_word_embeddings else [])]
    held = (read_rows(folder(card), name, token_ids(card, tokens)) for name in names)
    rows = next((found for found in held if found is not None), None)
    if rows is None or not tokens:
        raise UnsupportedModel(f"{card.name}: {names[-1]} is missing from its weights, and its score is read from there")
    weight = rows[0] - rows[1] if len(tokens) > 1 else rows[0]
    return Parts(body(source), PairReader(row_read(card), LinearHead(weight), causal=card.family.causal))


def layerwise(source: Source) -> Parts:
    """BAAI's layerwise MiniCPM: the body up to its cut-off layer, and that layer's own row."""
    card = source.card
    name = f"lm_head.{cut_off(card) - int(card.config['start_layer'])}.linear_head.weight"
    weight = read_rows(folder(card), name)
    if weight is None:
        raise UnsupportedModel(f"{card.name}: {name} is missing from its weights, and its score is read from there")
    return Parts(body(source), PairReader(row_read(card), LinearHead(weight[0]), causal=card.family.causal))


def module_chain(source: Source) -> Parts:
    """A sentence-transformers cross-encoder of modules: an encoder, a pooled row, and a chain down to one number."""
    chain = read_chain(source.card)
    if chain is None:
        raise UnsupportedModel(f"{source.card.name}: modules.json has no Dense behind its Pooling that would give a score")
    base = body(source, Allowed(missing=("pooler.",)))
    return Parts(base, PairReader(row_read(source.card), ChainHead(chain), causal=source.card.family.causal))


def sentence_encoder(source: Source) -> Parts:
    """A sentence encoder; a pooler of its own would not be read, so it may be missing."""
    card = source.card
    cache = QueryCache(source.options.query_cache)
    reader = EmbeddingReader(row_read(card), read_embedding(card), cache, dot=card.family.head == "dot")
    return Parts(body(source, Allowed(missing=("pooler.",))), reader)


def late_interaction(source: Source) -> Parts:
    """ColBERT: a linear over every token, unit length, MaxSim."""
    card = source.card
    projection, cache = read_projection(card, folder(card)), QueryCache(source.options.query_cache)
    base = body(source, Allowed(missing=("pooler.",), extra=("linear.",)))
    veils = card.family.expand_to > 0 and not card.family.expansion_seen
    if veils and not packs(type(base), base.config.model_type):
        raise UnsupportedModel(
            f"{card.name}: nothing attends to the tokens its queries are filled up with (attend_to_mask_tokens), which model_type "
            f"{base.config.model_type!r} can't do here; use a ColBERT over BERT or ModernBERT"
        )
    if veils:
        check_window(card, base.config)
    return Parts(base, LateReader(projection, cache, skip=token_ids(card, list(card.family.skip)), veils=veils), veils)


def check_window(card: ModelCard, config: PreTrainedConfig) -> None:
    """Every token that fills a query up must see one of the query's own within its window; raises UnsupportedModel."""
    for key, part in (("local_attention", 2), ("sliding_window", 1)):
        width = getattr(config, key, None)
        if width is not None and width // part < card.family.expand_to:
            raise UnsupportedModel(f"{card.name}: {key} is {width} in config.json; queries of {card.family.expand_to} tokens need more")


def listwise(source: Source) -> Parts:
    """jina-reranker-v3: hidden states at markers through an MLP, then cosine."""
    card = source.card
    document, query = token_ids(card, list(card.family.markers))
    layers = [read_rows(folder(card), f"projector.{number}.weight") for number in (0, 2)]
    if layers[0] is None or layers[1] is None:
        raise UnsupportedModel(f"{card.name}: projector.0.weight and projector.2.weight are not both among its weights")
    base = body(source, Allowed(extra=("projector.",)))
    return Parts(base, ListReader(Projector(layers[0], layers[1]), document=document, query=query))


def body(source: Source, allowed: Allowed | None = None) -> PreTrainedModel:
    """The checkpoint's base model, without a pooler: the heads here read rows themselves."""
    card = source.card
    tensors = native_tensors(card, folder(card))
    base = load_model(card, native_class(card, source.config, MODEL_MAPPING), source.config, source.dtype, allowed, tensors)
    if getattr(base, "pooler", None) is not None:
        # a class that can't be made without one (SqueezeBERT) calls it unasked
        base.pooler = None if "add_pooling_layer" in inspect.signature(type(base).__init__).parameters else nn.Identity()
    return base


def native_class(card: ModelCard, config: PreTrainedConfig, mapping: Any) -> type[PreTrainedModel]:
    """transformers' own class for `config` in `mapping`; raises UnsupportedModel when there is none."""
    if type(config) not in mapping:
        raise UnsupportedModel(f"{card.name}: this release of transformers has no class of its own for model_type {config.model_type!r}")
    kind = mapping[type(config)]
    return kind[0] if isinstance(kind, tuple) else kind


def token_ids(card: ModelCard, tokens: list[str]) -> list[int]:
    """Ids of whole tokens by the tokenizer's files; raises UnsupportedModel for one that is not in the vocabulary."""
    path = folder(card) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    found = {token: tokenizer.token_to_id(token) for token in tokens}
    for token, number in found.items():
        if number is None:
            raise UnsupportedModel(f"{card.name}: {path} has no token {token!r}, from which the score is read")
    return [number for number in found.values() if number is not None]


def row_read(card: ModelCard) -> RowRead:
    """The card's reading, if it is one row per sequence."""
    read = card.family.read
    if read not in ("first", "last", "mean"):
        raise UnsupportedModel(f"{card.name}: the reading {read!r} does not give one row per sequence")
    return read


TAKERS: dict[tuple[str, str], Callable[[Source], Parts]] = {
    ("pair", "model"): classifier,
    ("pair", "vocabulary"): vocabulary,
    ("pair", "layerwise"): layerwise,
    ("pair", "modules"): module_chain,
    ("embedding", "cosine"): sentence_encoder,
    ("embedding", "dot"): sentence_encoder,
    ("late", "maxsim"): late_interaction,
    ("list", "projector"): listwise,
}

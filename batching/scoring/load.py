"""From a model card to a scorer: number type, kernel, checkpoint, head, and which forward runs the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
)

from batching.errors import SettingError, UnsupportedModel
from batching.families.card import ModelCard
from batching.scoring.attention import choose_kernel
from batching.scoring.batch import Forward, Reader
from batching.scoring.checkpoint import load_model, read_config
from batching.scoring.heads import OwnHead, RowRead
from batching.scoring.lanes import lane_for
from batching.scoring.modules import read_chain
from batching.scoring.options import DTypeChoice, ScoringOptions
from batching.scoring.packed import PackedForward
from batching.scoring.readers import EmbeddingReader, PairReader, QueryCache
from batching.scoring.scorer import PackedScorer
from batching.scoring.segments import Kernel

BFLOAT16_CAPABILITY = (8, 0)


@dataclass(frozen=True, slots=True)
class Parts:
    """A checkpoint taken apart: the body that every token passes, and the reader that owns the head."""

    base: PreTrainedModel
    reader: Reader


def load_scorer(card: ModelCard, options: ScoringOptions) -> PackedScorer:
    """Load `card`'s checkpoint on `options.device`.

    Raises UnsupportedModel for a checkpoint that does not fill its class exactly, SettingError for a device, number type or kernel that
    this machine lacks.
    """
    device = open_device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    dtype = choose_dtype(device, options.dtype)
    parts = take_apart(card, dtype, options)
    parts.base.to(device)
    for module in parts.reader.modules():
        module.to(device)
    kernel = choose_kernel(device, dtype, options.attention)
    return PackedScorer(
        family=card.family,
        forward=choose_forward(card, parts.base, kernel, options),
        reader=parts.reader,
        kernel=kernel,
        lane=lane_for(device),
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        offset=position_offset(card),
        max_length=card.max_length,
    )


def choose_forward(card: ModelCard, base: PreTrainedModel, kernel: Kernel, options: ScoringOptions) -> Forward:
    """Which implementation runs the body; the model's own modules unless a faster one knows this architecture on this device."""
    if options.forward == "onednn":
        raise SettingError("forward 'onednn' is not built in; use 'auto'")
    return PackedForward(base, kernel.name)


def open_device(name: str) -> torch.device:
    """The torch device called `name`, if this machine has it; raises SettingError."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(f"device {name!r} is not known; use cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        device = torch.device("cuda", device.index or 0)
        if (device.index or 0) >= count:
            raise SettingError(f"device {name!r} is not there: this machine has {count} CUDA devices that torch can use")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingError("device 'mps' is not there: torch sees no Apple GPU")
    elif device.type not in ("cpu", "mps"):
        raise SettingError(f"device {name!r} is not supported; use cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(device: torch.device, choice: DTypeChoice) -> torch.dtype:
    """`choice`, or for "auto" bfloat16 on CUDA that has it, float16 on older CUDA, float32 on CPU and MPS."""
    if choice != "auto":
        return cast(torch.dtype, getattr(torch, choice))
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY else torch.float16


def position_offset(card: ModelCard) -> int:
    """What is added to every position; RoBERTa's tables begin behind the padding token's own row."""
    if card.family.position_offset != "pad":
        return card.family.position_offset
    pad = card.config.get("pad_token_id")
    return (1 if pad is None else int(pad)) + 1


def take_apart(card: ModelCard, dtype: torch.dtype, options: ScoringOptions) -> Parts:
    """Load the checkpoint as its family's head wants it and part body from head."""
    config = read_config(card)
    if card.family.unit == "pair" and card.family.head == "model":
        return _classifier(card, config, dtype)
    if card.family.unit == "embedding":
        return _encoder(card, config, dtype, options)
    raise UnsupportedModel(f"{card.name}: no head {card.family.head!r} for the unit {card.family.unit!r}")


def _classifier(card: ModelCard, config: PreTrainedConfig, dtype: torch.dtype) -> Parts:
    """A sequence-classification checkpoint with one label."""
    if config.num_labels != 1:
        raise UnsupportedModel(f"{card.name}: num_labels is {config.num_labels}; a reranker has 1")
    model = load_model(card, native_class(card, config, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING), config, dtype)
    base = getattr(model, model.base_model_prefix)
    return Parts(base, PairReader(row_read(card), OwnHead(model), causal=card.family.causal))


def _encoder(card: ModelCard, config: PreTrainedConfig, dtype: torch.dtype, options: ScoringOptions) -> Parts:
    """A sentence encoder; a pooler of its own would not be read, so it may be missing."""
    base = load_model(card, native_class(card, config, MODEL_MAPPING), config, dtype, unread=("pooler.",))
    if getattr(base, "pooler", None) is not None:
        base.pooler = None
    return Parts(base, EmbeddingReader(row_read(card), read_chain(card), QueryCache(options.query_cache)))


def native_class(
    card: ModelCard, config: PreTrainedConfig, mapping: dict[type[PreTrainedConfig], type[PreTrainedModel]]
) -> type[PreTrainedModel]:
    """transformers' own class for `config` in `mapping`; raises UnsupportedModel when there is none."""
    if type(config) not in mapping:
        raise UnsupportedModel(f"{card.name}: this release of transformers has no class of its own for model_type {config.model_type!r}")
    kind = mapping[type(config)]
    return kind[0] if isinstance(kind, tuple) else kind


def row_read(card: ModelCard) -> RowRead:
    """The card's reading, if it is one row per sequence."""
    read = card.family.read
    if read not in ("first", "last", "mean"):
        raise UnsupportedModel(f"{card.name}: the reading {read!r} does not give one row per sequence")
    return read

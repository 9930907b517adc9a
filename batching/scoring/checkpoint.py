"""From a directory to a model with exactly its own weights: nothing missing, nothing left over, nothing random, no code from the directory.

transformers fills a missing head with random numbers and only logs it; here that is a refusal which names the keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from batching.errors import UnsupportedModel
from batching.families.card import ModelCard
from batching.scoring.attention import NAME
from batching.scoring.bodies import packs
from batching.scoring.native import native_config

HEAD_PARTS = frozenset({"classifier", "classification_head", "pre_classifier", "pooler", "head", "score"})
"""Names under which the classes keep their heads; those weights are read in float32 whatever the body's number type."""
HARMLESS = re.compile(
    r"(^|\.)(position_ids|rotary_emb\.inv_freq|inv_freq)$|^(lm_head|cls|predictions|discriminator_predictions|mlm)\.|\.lm_head\."
)
"""Left-over tensors that no served head reads: old buffers, and the pre-training head that a conversion forgot."""
NAMED_KEYS = 4
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, StrictDataclassError)
"""What transformers raises at a value of another type or range than it counts on."""


def read_config(card: ModelCard) -> PreTrainedConfig:
    """The checkpoint's config.json as transformers' class; raises UnsupportedModel when transformers has no class for it."""
    translated = native_config(card)
    if translated is not None:
        return translated
    try:
        return AutoConfig.from_pretrained(folder(card), local_files_only=True, trust_remote_code=False)
    except (*UNREADABLE, OSError) as error:
        raise UnsupportedModel(f"{card.name}: transformers can't read its config.json: {whole(error)}") from error


def folder(card: ModelCard) -> Path:
    """Where config.json and the weights are."""
    return Path(card.path) / card.transformer


@dataclass(frozen=True, slots=True)
class Allowed:
    """Beginnings of tensor names that may differ: `missing` from the files because nothing reads them, `extra` because others read them."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def load_model(
    card: ModelCard,
    kind: type[PreTrainedModel],
    config: PreTrainedConfig,
    dtype: torch.dtype,
    allowed: Allowed | None = None,
    tensors: dict[str, Tensor] | None = None,
) -> PreTrainedModel:
    """`kind` with the checkpoint's weights on the CPU, ready to infer, its head parts in float32.

    `tensors`: the weights under the class's own names, where the files have others. Raises UnsupportedModel and names the keys.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    kind = type(kind.__name__, (kind,), {"_keep_in_fp32_modules_strict": set(HEAD_PARTS)})
    options: dict[str, Any] = {} if tensors is None else {"state_dict": tensors}
    try:
        model, report = kind.from_pretrained(
            folder(card) if tensors is None else None,
            config=config,
            dtype=dtype,
            attn_implementation=attention_for(kind, config),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are told with their shapes below
            **options,
        )
    except (*UNREADABLE, OSError, RuntimeError) as error:
        raise UnsupportedModel(f"{card.name}: its weights can't be loaded as {kind.__name__}: {first_line(error)}") from error
    check_report(card, report, allowed or Allowed())
    return model.eval()


def attention_for(kind: type[PreTrainedModel], config: PreTrainedConfig) -> str:
    """The name of the attention that the body is to run on: ours on a packed row, else transformers' own, which knows padding."""
    if packs(kind, config.model_type):
        return NAME
    return "sdpa" if kind._supports_sdpa else "eager"


def check_report(card: ModelCard, report: dict[str, Any], allowed: Allowed) -> None:
    """Refuse a checkpoint that did not fill its class exactly; `report` is transformers' loading info."""
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(allowed.missing))
    if missing:
        raise UnsupportedModel(
            f"{card.name}: {named(missing)} missing from its weights, and would be random; is this a reranker's checkpoint?"
        )
    unexpected = sorted(key for key in report["unexpected_keys"] if not HARMLESS.search(key) and not key.startswith(allowed.extra))
    if unexpected:
        raise UnsupportedModel(
            f"{card.name}: {named(unexpected)} in its weights have no place in {card.architecture}; it computes something else"
        )
    if report["mismatched_keys"]:
        shapes = named(sorted(f"{key} {[*given]} where it is {[*wanted]}" for key, given, wanted in report["mismatched_keys"]))
        raise UnsupportedModel(f"{card.name}: its weights have other shapes than by its config.json: {shapes}")


def named(keys: list[str]) -> str:
    """The first few keys and how many more there are."""
    shown = ", ".join(keys[:NAMED_KEYS])
    return shown if len(keys) <= NAMED_KEYS else f"{shown} and {len(keys) - NAMED_KEYS} more"


def whole(error: BaseException) -> str:
    """An error's message, or its kind, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line with text of an error's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

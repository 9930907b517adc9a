"""From a model card to a scorer: number type, kernel, checkpoint, head, and which forward runs the body."""

from __future__ import annotations

import logging
from typing import cast

import torch
from transformers import PreTrainedModel

from batching.errors import SettingError, StartError, UnsupportedModel
from batching.families.card import ModelCard
from batching.scoring.attention import RUNS, choose_kernel
from batching.scoring.bodies import Positions, check_rope, read_positions
from batching.scoring.checkpoint import read_config
from batching.scoring.cuda import fuse
from batching.scoring.drivers import why_no_cuda
from batching.scoring.float8 import check_float8, scaled_mm, to_float8
from batching.scoring.forwards import choose_forward, may_prepack
from batching.scoring.fused.kernels import row_quantiser
from batching.scoring.lanes import lane_for
from batching.scoring.onednn import available
from batching.scoring.onednn.support import has_bfloat16
from batching.scoring.onednn.weights import BODIES
from batching.scoring.options import DTypeChoice, ScoringOptions
from batching.scoring.parts import take_apart, token_ids
from batching.scoring.pictured import PicturedForward, Spots
from batching.scoring.scorer import Limits, PackedScorer

logger = logging.getLogger("rerankd.worker")

BFLOAT16_CAPABILITY = (8, 0)
FLOAT16_UNSAFE = frozenset({"gemma", "gemma2", "qwen2", "deberta-v2"})
"""Model types with reports of NaN in float16 (models.md G13)."""


def load_scorer(card: ModelCard, options: ScoringOptions) -> PackedScorer:
    """Load `card`'s checkpoint on `options.device`.

    Raises UnsupportedModel for a checkpoint that does not fill its class exactly, SettingError for a device, number type or kernel that
    this machine lacks.
    """
    device, pictures = open_device(options.device), card.family.pictures
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model_type = str(read_config(card).model_type)
    dtype = choose_dtype(device, options.dtype, model_type)
    prepack = options.dtype == "int8" or may_prepack(model_type, device, dtype, options.forward)
    parts = take_apart(card, torch.float32 if prepack else dtype, options)
    check_rope(card, parts.base.config)
    check_causality(card, parts.base)
    check_positions(card, read_positions(parts.base))
    vocabulary = parts.base.get_input_embeddings().num_embeddings
    parts.base.to(device)
    for module in parts.reader.modules():
        module.to(device)
    kernel = choose_kernel(device, dtype, options.attention)
    forward = None if parts.veils else fuse(parts.base, kernel, dtype, read_positions(parts.base).offset, options)
    if options.dtype == "float8" and forward is None:
        quantise(card, parts.base)
    forward = forward or choose_forward(parts, card, kernel, dtype, options)
    spots = None
    if parts.vision is not None and pictures is not None:
        spots = Spots(token_ids(card, [pictures.marks[1]])[0], pictures.tokens, pictures.tile_bytes)
        forward = PicturedForward(forward, parts.base, parts.vision.to(device), pictures.tile_bytes)
    return PackedScorer(
        family=card.family,
        forward=forward,
        reader=parts.reader,
        kernel=RUNS if forward.padded else kernel,
        lane=lane_for(device),
        device=str(device),
        dtype=options.dtype if options.dtype in ("float8", "int8") else str(dtype).removeprefix("torch."),
        limits=Limits(positions=read_positions(parts.base), vocabulary=vocabulary, longest=card.max_length),
        spots=spots,
    )


def quantise(card: ModelCard, base: PreTrainedModel) -> None:
    """Give the layers of `base` float8 products; raises SettingError when none of its linears takes them."""
    if not to_float8(base, scaled_mm, row_quantiser(base.device)):
        raise SettingError(f"{card.name}: dtype 'float8' is for models whose layers have linears in multiples of 16; use 'auto'")


def check_positions(card: ModelCard, positions: Positions) -> None:
    """The longest sequence that is let in must fit the position table; raises UnsupportedModel."""
    if positions.count is not None and positions.count < card.max_length:
        raise UnsupportedModel(
            f"{card.name}: its position table holds {positions.count} tokens where config.json allows {card.max_length}; download it again"
        )


def check_causality(card: ModelCard, base: PreTrainedModel) -> None:
    """A family that shares prefixes must be causal in the model too; raises UnsupportedModel."""
    said = getattr(base.config, "is_causal", None)
    causal = any(getattr(module, "is_causal", False) for module in base.modules()) if said is None else bool(said)
    if card.family.causal and not causal:
        raise UnsupportedModel(f"{card.name}: the family {card.family.name} is causal, but this model sees both sides")


def open_device(name: str) -> torch.device:
    """The torch device called `name`. Raises SettingError for what is no device, StartError for one that this machine lacks."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingError(f"device {name!r} is not known; use cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        if reason := why_no_cuda():
            raise StartError(f"device {name!r} can't be used: {reason}")
        count = torch.cuda.device_count()
        device = torch.device("cuda", device.index or 0)
        if (device.index or 0) >= count:
            raise StartError(f"device {name!r} is not there: this machine has {count} CUDA devices that torch can use")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise StartError("device 'mps' is not there: torch sees no Apple GPU")
    elif device.type not in ("cpu", "mps"):
        raise SettingError(f"device {name!r} is not supported; use cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(device: torch.device, choice: DTypeChoice, model_type: str = "") -> torch.dtype:
    """The body's number type: `choice`, or what goes around float8's and int8's products; raises SettingError where there are none.

    "auto": bfloat16 on CUDA that has it, float16 on older CUDA if the model stands it, float32 on CPU and MPS.
    """
    if choice == "float8":
        check_float8(device)
        return torch.bfloat16
    if choice == "int8":
        return int8_dtype(device, model_type)
    if choice == "bfloat16" and device.type == "cpu" and not has_bfloat16():
        logger.warning("dtype 'bfloat16' is slower than 'float32' here: this processor has no instructions for it; use 'auto'")
    if choice != "auto":
        return cast(torch.dtype, getattr(torch, choice))
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY:
        return torch.bfloat16
    return torch.float32 if model_type in FLOAT16_UNSAFE else torch.float16


def int8_dtype(device: torch.device, model_type: str) -> torch.dtype:
    """What attention is computed in around int8 products: bfloat16 where the processor has it. Raises SettingError where int8 is not."""
    if device.type != "cpu":
        raise SettingError(f"dtype 'int8' is for the CPU, not {device}; use 'auto' or 'float8'")
    if model_type not in BODIES:
        raise SettingError(f"dtype 'int8' is for encoders of these types: {', '.join(sorted(BODIES))}, not {model_type!r}; use 'auto'")
    dtype = torch.float32 if available(torch.bfloat16) else torch.bfloat16
    reason = available(dtype, int8=True)
    if reason is not None:
        raise SettingError(f"dtype 'int8' is not possible: {reason}; use 'auto'")
    return dtype

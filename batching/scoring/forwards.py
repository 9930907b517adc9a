"""Which implementation runs a model's body: its own modules packed, padded where they can't be, or prepacked oneDNN on the CPU."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from batching.errors import SettingError
from batching.families.card import ModelCard
from batching.scoring import cuda
from batching.scoring.attention import RUNS
from batching.scoring.batch import Batch, Forward, RowRead, read_rows
from batching.scoring.bodies import packs, read_positions
from batching.scoring.layout import Layout, lay_out
from batching.scoring.linears import is_faster, prepack
from batching.scoring.onednn import PackedEncoder, available, check_int8, choose, unsupported
from batching.scoring.onednn.weights import BODIES
from batching.scoring.options import ForwardChoice, ScoringOptions
from batching.scoring.packed import PackedForward
from batching.scoring.padded import PaddedForward
from batching.scoring.parts import Parts
from batching.scoring.segments import Kernel, Segments
from batching.types import Int32s, Pack

CHOOSE_S = 0.5
"""How long a start may spend on finding out which forward is the faster one here."""


class OneDnnForward:
    """`PackedEncoder` as a `Forward`: it takes its tokens from the host's layout."""

    padded = False
    warm_up_rows: tuple[int, ...] = ()

    def __init__(self, encoder: PackedEncoder) -> None:
        self._encoder, self.backend = encoder, encoder.backend

    def fill(self, tokens: int) -> int:
        """See `Forward`."""
        return 0

    def arrays(self, layout: Layout) -> dict[str, Int32s]:
        """See `Forward`."""
        return {}

    def hidden(self, batch: Batch) -> Tensor:
        """See `Forward`; needs an encoder that reads all."""
        return self._encoder(batch.layout.ids, batch.layout.lengths, batch.layout.types)

    def rows(self, batch: Batch, read: RowRead) -> Tensor:
        """See `Forward`; an encoder that reads rows gives just these."""
        states = self.hidden(batch)
        return read_rows(states, batch, read) if self._encoder.read == "all" else states

    def weights_bytes(self) -> int:
        """See `Forward`."""
        return self._encoder.nbytes()


def may_prepack(model_type: str, device: torch.device, dtype: torch.dtype, choice: ForwardChoice) -> bool:
    """If the packed CPU forward comes into question, so that the weights are best loaded in float32."""
    return choice != "transformers" and device.type == "cpu" and model_type in BODIES and available(dtype) is None


def choose_forward(parts: Parts, card: ModelCard, kernel: Kernel, dtype: torch.dtype, options: ScoringOptions) -> Forward:
    """The forward for the body in `parts`, on its device already; raises SettingError when the one asked for does not know the model."""
    base, read = parts.base, parts.reader.read
    if options.dtype == "int8":
        return int8_forward(parts, card, dtype)
    if options.forward == "onednn":
        reason = available(dtype) or lacking(parts)
        if reason is not None:
            raise SettingError(f"forward 'onednn' is not possible: {reason}; use 'auto'")
        return OneDnnForward(PackedEncoder(base, dtype, read=read or "all"))
    if not packs(type(base), base.config.model_type):
        speed_up(base, dtype, options.forward)
        return PaddedForward(base)
    if not may_prepack(base.config.model_type, base.device, dtype, options.forward) or lacking(parts) is not None:
        base = base.to(dtype) if base.dtype != dtype else base  # read in float32 where a prepacked encoder came into question
        faster = speed_up(base, dtype, options.forward)
        plain = PackedForward(base, f"{kernel.name}+prepacked" if faster else kernel.name, rounds=base.device.type == "cpu")
        return cuda.speed_up(plain, base, kernel, read_positions(base).offset, options) if base.device.type == "cuda" else plain
    encoder = PackedEncoder(base, dtype, read=read or "all")
    generic = PackedForward(base.to(dtype), kernel.name, rounds=True)
    probe = partial(run_generic, generic, read, read_positions(base).offset)
    faster = choose(encoder, probe, vocabulary=card.vocab_size, longest=card.max_length, seconds=CHOOSE_S).packed
    return OneDnnForward(encoder) if faster else generic


def lacking(parts: Parts) -> str | None:
    """Why the packed CPU forward does not suit these parts, in one line; None when it does."""
    return unsupported(parts.base) or ("some tokens of its queries are attended to by none" if parts.veils else None)


def int8_forward(parts: Parts, card: ModelCard, dtype: torch.dtype) -> OneDnnForward:
    """The packed forward with int8 products around `dtype`; raises SettingError for a body that has none, or that int8 does not suit."""
    base, read = parts.base, parts.reader.read
    reason = available(dtype, int8=True) or lacking(parts)
    if reason is not None:
        raise SettingError(f"{card.name}: dtype 'int8' is not possible: {reason}; use 'auto'")
    probe = partial(run_generic, PackedForward(base, RUNS.name, rounds=True), read, read_positions(base).offset)
    try:
        encoder = PackedEncoder(base, dtype, read=read or "all", int8=True)
        check_int8(encoder, probe, vocabulary=card.vocab_size, longest=card.max_length)
    except ValueError as error:
        raise SettingError(f"{card.name}: {error}; use 'auto' or 'bfloat16'") from error
    return OneDnnForward(encoder)


def speed_up(base: PreTrainedModel, dtype: torch.dtype, choice: ForwardChoice) -> bool:
    """Prepack the linears of a body on the CPU where that is faster on this machine; says if it did."""
    if choice == "transformers" or base.device.type != "cpu" or available(dtype) is not None or not is_faster(base):
        return False
    return prepack(base) > 0


@torch.inference_mode()
def run_generic(forward: Forward, read: RowRead | None, offset: int, ids: Int32s, lengths: Int32s, types: Int32s | None) -> Tensor:
    """The generic forward as the measurement calls it: arrays in the caller's order, what is read back in the same order; `types` zero."""
    count = np.array([len(lengths)], dtype=np.int32)
    pack = Pack(ids, lengths, np.zeros_like(lengths), count, count, np.array([False]))
    layout = lay_out(pack, np.arange(len(lengths), dtype=np.int32), None, sort=False, offset=offset, token_types=False)
    arrays = {"ids": layout.ids, "positions": layout.positions, "offsets": layout.offsets} | forward.arrays(layout)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    batch = Batch(layout, Segments(kernel=RUNS, layout=layout, offsets=tensors["offsets"]), tensors)
    return forward.hidden(batch) if read is None else forward.rows(batch, read)

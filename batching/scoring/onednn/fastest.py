"""Which implementation of `Passes` serves a model best on this machine; whose products are the faster ones is measured."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from batching.scoring.onednn.library import MULTIPLYING
from batching.scoring.onednn.linear import PackedLinear
from batching.scoring.onednn.passes import Passes, TorchPasses
from batching.scoring.onednn.simd import SimdPasses, lacking
from batching.scoring.onednn.support import has_vnni
from batching.scoring.onednn.weights import EncoderWeights
from batching.scoring.race import race

logger = logging.getLogger("rerankd.worker")

Backend = Literal["auto", "onednn", "onednn+simd", "simd"]
"""oneDNN's products with torch's operators between them, or with our own C; our own products as well."""
_ROWS = 192
_TURNS = 3


def made(own: EncoderWeights, backend: Backend) -> Passes:
    """The one of this name. Raises RuntimeError where the machine has not got it."""
    return TorchPasses(own.activation) if backend == "onednn" else SimdPasses(products=backend == "simd")


def chosen(own: EncoderWeights, backend: Backend, dtype: torch.dtype, *, int8: bool) -> Passes:
    """What is asked for. Raises ValueError where that does not serve the model, RuntimeError where the machine has not got it."""
    if backend == "auto":
        return fastest(own, dtype, int8=int8)
    reason = None if backend == "onednn" else lacking(own, dtype, int8=int8)
    if reason is not None:
        raise ValueError(f"{backend!r} does not serve this model: {reason}")
    return made(own, backend)


def fastest(own: EncoderWeights, dtype: torch.dtype, *, int8: bool) -> Passes:
    """The one to use for an encoder of `dtype`, with `int8` products or without. Raises ValueError where none has int8 for this model."""
    reason = lacking(own, dtype, int8=int8)
    if int8 and not has_vnni():
        if reason is not None:
            raise ValueError(f"without AVX-512 VNNI this model can't have int8 products: {reason}")
        return SimdPasses(products=True)
    if reason is not None:
        logger.info("between the model's products torch's own operators run, some of them slower: %s", reason)
        return TorchPasses(own.activation)
    passes = SimdPasses()
    if passes.registers != MULTIPLYING or dtype != torch.float32 or int8:  # with VNNI oneDNN's are the faster ones
        return passes
    multiplying = SimdPasses(products=True)
    return multiplying if _multiplies_faster(multiplying, own) else passes


@torch.inference_mode()
def _multiplies_faster(passes: Passes, own: EncoderWeights) -> bool:
    """If its largest product with the activation, on as many threads as this worker has, is faster than oneDNN's."""
    up = own.layers[0].up
    x = torch.zeros(_ROWS, up.weight.shape[1]).normal_(generator=torch.Generator().manual_seed(0))
    ours = passes.linear(up, torch.float32, own.activation)
    theirs = PackedLinear(up, torch.float32, own.activation, shared=False)
    ours_s, theirs_s = race(lambda: ours(x), lambda: theirs(x), turns=_TURNS)
    return ours_s < theirs_s

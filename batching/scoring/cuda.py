"""What a packed body gets on a CUDA device: a fused forward if it has the shape for one, else blocks compiled where that is faster; and
graphs around small rows. All of it falls back to the plain way, with a logged reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from batching.errors import SettingError
from batching.scoring.batch import Batch, Forward
from batching.scoring.compiled import Regions, set_cache_directories
from batching.scoring.drift import DRIFT, worst_row
from batching.scoring.fused import FusedForward, available, unsupported
from batching.scoring.graphs import Graph, GraphedForward, cuda_graphs
from batching.scoring.layout import Layout
from batching.scoring.options import ScoringOptions
from batching.scoring.packed import PackedForward
from batching.scoring.segments import Kernel, Segments

logger = logging.getLogger("rerankd.worker")

PROBE_TOKENS = 4096
PROBE_LENGTH = 64
PROBES = 5
MARGIN = 1.02
FLOAT8_DRIFT = 0.5
"""What float8 may be apart from half precision."""


def fuse(base: PreTrainedModel, kernel: Kernel, dtype: torch.dtype, offset: int, options: ScoringOptions) -> Forward | None:
    """The fused forward of `base`, with graphs, if it has one here and agrees with the plain one.

    Raises SettingError when it was asked for by name and can't be.
    """
    float8 = options.dtype == "float8"
    reason = available(base.device, dtype) or unsupported(base, float8=float8) or ("attention is 'runs'" if kernel.sorts else None)
    if reason is not None and options.forward == "fused":
        raise SettingError(f"forward 'fused' is not possible: {reason}; use 'auto'")
    if reason is not None or options.forward not in ("auto", "fused"):
        return None
    torch.cuda.set_device(base.device)
    set_cache_directories()
    try:
        fused = FusedForward(base, float8=float8)
        batch = probe(base.device, kernel, PROBE_TOKENS, PROBE_LENGTH, offset)
        with torch.inference_mode():
            apart = worst_row(fused.hidden(batch), PackedForward(base, kernel.name).hidden(batch))
    except Exception as error:  # noqa: BLE001  compilers fail in many ways; each leaves the model's own modules
        logger.warning("no fused forward: %s: %s", type(error).__name__, str(error).partition("\n")[0])
        return None
    if not apart <= (FLOAT8_DRIFT if float8 else DRIFT):
        logger.warning("no fused forward: it differs from the model's own modules by %.2g of the spread", apart)
        return None
    return fused if options.graphs == "off" else GraphedForward(fused, kernel, offset, cuda_graphs())


def speed_up(
    forward: PackedForward, base: nn.Module, kernel: Kernel, offset: int, options: ScoringOptions, make: Callable[[], Graph] | None = None
) -> Forward:
    """`forward` with what `options` allow on a varlen kernel; `make`: a maker of graphs, CUDA's unless told otherwise.

    Runs over equal lengths are work of no fixed shape, so they get neither.
    """
    if kernel.sorts:
        return forward
    device = next(base.parameters()).device
    if device.type == "cuda":
        torch.cuda.set_device(device)  # graphs and compiled kernels start on the current one
    regions = Regions(base) if options.compiled != "off" else None
    if regions:
        compile_blocks(forward, regions, kernel, offset, must=options.compiled == "on")
    return forward if options.graphs == "off" else GraphedForward(forward, kernel, offset, make or cuda_graphs())


def compile_blocks(forward: PackedForward, regions: Regions, kernel: Kernel, offset: int, *, must: bool) -> None:
    """Keep `regions` in `forward` if they agree with the plain blocks and are faster (or `must` be kept); log why not."""
    device, longest = next(regions.parameters()).device, PROBE_LENGTH
    set_cache_directories()
    batch = probe(device, kernel, PROBE_TOKENS if device.type == "cuda" else 4 * longest, longest, offset)
    began = time.monotonic()
    try:
        with torch.inference_mode():
            plain, plain_s = _timed(forward, batch)
            forward.regions = regions
            compiled, compiled_s = _timed(forward, batch)
        apart = worst_row(compiled, plain)
        if forward.regions is None:
            raise RuntimeError("the compiler gave up")
    except Exception as error:  # noqa: BLE001  compilers fail in many ways; each leaves the plain blocks
        forward.regions = None
        logger.warning("blocks are not compiled: %s: %s", type(error).__name__, str(error).partition("\n")[0])
        return
    verdict = f"{plain_s / compiled_s:.2f} times as fast, {apart:.2g} of the spread apart, ready in {time.monotonic() - began:.0f} s"
    if not apart <= DRIFT or (plain_s < MARGIN * compiled_s and not must):
        forward.regions = None
        logger.info("blocks stay as they are; compiled they are %s", verdict)
        return
    forward.backend += "+compiled"
    logger.info("blocks are compiled: %s", verdict)


def probe(device: torch.device, kernel: Kernel, tokens: int, length: int, offset: int) -> Batch:
    """Made-up sequences of `length`, about `tokens` together, the last one shorter."""
    count = max(2, tokens // length)
    lengths = np.full(count, length, dtype=np.int32)
    lengths[-1] = max(1, length // 3)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    positions = np.concatenate([np.arange(one, dtype=np.int32) for one in lengths]) + np.int32(offset)
    ids = np.random.default_rng(0).integers(0, 50, len(positions), dtype=np.int32)
    layout = Layout(ids, positions, None, offsets, np.arange(count, dtype=np.int32), None, ())
    tensors = {name: torch.from_numpy(array).to(device) for name, array in (("ids", ids), ("positions", positions), ("offsets", offsets))}
    return Batch(layout, Segments(kernel=kernel, layout=layout, offsets=tensors["offsets"], longest=length), tensors)


def _timed(forward: PackedForward, batch: Batch) -> tuple[Tensor, float]:
    """Hidden states in float32, and the best seconds after a first run that may compile."""
    hidden = forward.hidden(batch).float()
    best = float("inf")
    for _ in range(PROBES):
        began = time.perf_counter()
        forward.hidden(batch)
        if hidden.is_cuda:
            torch.cuda.synchronize(hidden.device)
        best = min(best, time.perf_counter() - began)
    return hidden, best

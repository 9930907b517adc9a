"""torch.compile over a body's blocks: norms, activations, residuals and rotary embeddings fused around the products.

Blocks are compiled one by one, so that all layers share one compilation and a start takes seconds; the number of tokens is dynamic.
Attention is one opaque operator in there. What is compiled stays on disk for the next start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from batching import calibrate
from batching.scoring.segments import How, Kernel, Segments

logger = logging.getLogger("rerankd.worker")

Told = tuple[Tensor, Tensor, str]
"""What compiled blocks are told instead of `Segments`: offsets, the longest as a number on the host, the kernel's name."""
VERSIONS = 64
"""Compilations of one block's code; layers differ in a few numbers (windows, say), and each needs its own."""
_kernels: dict[str, Kernel] = {}


@torch.library.custom_op("rerankd::attend_varlen", mutates_args=())
def attend_varlen(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, longest: Tensor, kernel: str, causal: bool, window: int, scale: float, softcap: float
) -> Tensor:
    """Varlen attention of q [T, Hq, D] within offsets int32 [S + 1], as an operator that compilers look at from outside.

    `longest` is a 0-d tensor on the host, so that no length is compiled in; `window` and `softcap` 0: none.
    """
    how = How(causal=causal, window=window or None, scale=scale, softcap=softcap or None)
    chosen = _kernels[kernel]
    # no varlen kernel reads the layout when `longest` is given
    segments = Segments(kernel=chosen, layout=None, offsets=offsets, longest=int(longest))  # type: ignore[arg-type]
    if not chosen.serves(q, segments, how):
        raise RuntimeError(f"{kernel} does not serve all of this model's layers")
    return chosen(q, k, v, segments, how).contiguous()


@attend_varlen.register_fake
def _shape(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, longest: Tensor, kernel: str, causal: bool, window: int, scale: float, softcap: float
) -> Tensor:
    return q.new_empty(q.shape)


def attend_told(q: Tensor, k: Tensor, v: Tensor, told: Told, how: How) -> Tensor:
    """`attend_varlen` for what a compiled block was told."""
    offsets, longest, kernel = told
    return attend_varlen(q, k, v, offsets, longest, kernel, how.causal, how.window or 0, how.scale, how.softcap or 0.0)


def blocks_of(base: nn.Module) -> list[nn.Module]:
    """What is compiled: the body's layers (the longest list of equals), and the module `embeddings` where it has one."""
    lists = [module for module in base.modules() if isinstance(module, nn.ModuleList) and len({type(child) for child in module}) == 1]
    layers = max((list(children) for children in lists), key=len, default=[])
    embeddings = getattr(base, "embeddings", None)
    return [*layers, embeddings] if layers and isinstance(embeddings, nn.Module) else layers


class Regions:
    """The compiled blocks of one body; off until `use`."""

    def __init__(self, base: nn.Module, *, backend: Any = "inductor") -> None:
        """`backend`: torch.compile's. Compiles nothing yet: that is done by the first forward."""
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VERSIONS)
        self._blocks = blocks_of(base)
        self._calls = [torch.compile(block.forward, dynamic=True, backend=backend, fullgraph=True) for block in self._blocks]

    def __len__(self) -> int:
        return len(self._blocks)

    def parameters(self) -> Iterator[Tensor]:
        """The blocks' weights."""
        return (parameter for block in self._blocks for parameter in block.parameters())

    @contextmanager
    def use(self) -> Iterator[None]:
        """The blocks' compiled forwards within the context."""
        plain = [block.forward for block in self._blocks]
        for block, call in zip(self._blocks, self._calls, strict=True):
            block.forward = call
        try:
            yield
        finally:
            for block, call in zip(self._blocks, plain, strict=True):
                block.forward = call


def is_compilers(error: Exception) -> bool:
    """If `error` comes from compiling, late: a shape or a layer that the compilations so far do not serve."""
    from torch._dynamo import exc  # takes a second to import, which the CPU never needs

    return isinstance(error, exc.TorchDynamoException | exc.FailOnRecompileLimitHit)


def tell(segments: Segments) -> Told | None:
    """What compiled blocks may be told of `segments`; None where sequences share prefixes or are veiled, which go the plain way."""
    if segments.shared is not None or segments.veil is not None or segments.kernel.sorts:
        return None
    _kernels[segments.kernel.name] = segments.kernel
    longest = segments.longest or segments.layout.longest
    return segments.offsets, torch.tensor(longest), segments.kernel.name


def keep_on_disk(environ: dict[str, str]) -> dict[str, str]:
    """The variables that keep inductor's and triton's results between starts, where the operator has set none."""
    directory: Path = calibrate.cache_directory(environ) / "compiled"
    wanted = {"TORCHINDUCTOR_CACHE_DIR": str(directory / "inductor"), "TRITON_CACHE_DIR": str(directory / "triton")}
    return {name: path for name, path in wanted.items() if name not in environ}


def set_cache_directories() -> None:
    """Let compilers keep their results; they read these variables when they first need them."""
    os.environ.update(keep_on_disk(dict(os.environ)))

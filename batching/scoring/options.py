"""How a model is to be run: device, number type, threads, kernels. Free of torch, so that any process may build one."""

from __future__ import annotations

from typing import Literal

import msgspec

DTypeChoice = Literal["auto", "float32", "bfloat16", "float16", "float8", "int8"]
AttentionChoice = Literal["auto", "flash", "varlen", "runs"]
CompileChoice = Literal["auto", "on", "off"]
GraphChoice = Literal["auto", "off"]
ForwardChoice = Literal["auto", "transformers", "onednn", "fused"]


class ScoringOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator may choose about one worker's forward pass; a choice that the machine lacks is a StartError."""

    device: str = "cpu"
    """"cpu", "cuda:0", "mps"."""
    dtype: DTypeChoice = "auto"
    """"auto": bfloat16 on CUDA that has it, float16 on older CUDA, float32 on CPU and MPS; "float8": bfloat16 with the layers' products in
    float8, on CUDA of compute capability 8.9 or newer; "int8": the layers' products in int8, on CPUs with VNNI or AVX2, encoders only."""
    threads: int | None = None
    """Threads of one forward on the CPU; None leaves torch's own number."""
    attention: AttentionChoice = "auto"
    """"flash": the flash-attn package; "varlen": torch's own varlen kernel; "runs": SDPA over runs of equal length."""
    forward: ForwardChoice = "auto"
    """"transformers": the model's own modules; "onednn": prepacked linears, CPU encoders only; "fused": few
    kernels, encoders on CUDA only."""
    compiled: CompileChoice = "auto"
    """CUDA with a varlen kernel: torch.compile over the body's blocks; "auto" measures at start."""
    graphs: GraphChoice = "auto"
    """CUDA with a varlen kernel: "auto" replays small rows as CUDA graphs."""
    query_cache: int = 4096
    """Query embeddings that a bi-encoder remembers."""

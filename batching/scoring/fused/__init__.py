"""A CUDA forward for BERT-shaped encoders that launches few kernels: query, key and value in one product, GELU inside the product, residual
and norm in one pass, and of the last layer only what is read. `available` says what this machine lacks for it.
"""

from __future__ import annotations

from batching.scoring.fused.forward import FusedForward, available, unsupported

__all__ = ["FusedForward", "available", "unsupported"]

"""Tiny random checkpoints on disk, one function per family: `make(directory, *, seed=0, ...) -> directory`.

Each has the real tokenizer class with a small trained vocabulary, the real layout of special tokens, and safetensors weights, so
that the program and its independent reference load the same files.
"""

from __future__ import annotations

from tests.checkpoints.corpus import DOCUMENTS, QUERY, SENTENCES
from tests.checkpoints.encoders import bert, bi_encoder, electra, xlm_roberta

__all__ = ["DOCUMENTS", "QUERY", "SENTENCES", "bert", "bi_encoder", "electra", "xlm_roberta"]

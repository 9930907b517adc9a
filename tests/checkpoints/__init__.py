"""Tiny random checkpoints on disk, one function per family: `make(directory, *, seed=0, ...) -> directory`.

Each has the real tokenizer class with a small trained vocabulary, the real layout of special tokens, and safetensors weights, so
that the program and its independent reference load the same files.
"""

from __future__ import annotations

from tests.checkpoints.corpus import DOCUMENTS, QUERY, SENTENCES
from tests.checkpoints.decoders import (
    bge_gemma,
    ctxl,
    jina_v3,
    mxbai_labels,
    mxbai_v2,
    nemotron,
    nemotron_vl,
    qwen3,
    qwen3_classifier,
    qwen3_logit_score,
    zerank,
)
from tests.checkpoints.encoders import bert, bi_encoder, electra, xlm_roberta
from tests.checkpoints.more_encoders import albert, deberta, distilbert, gte, gte_remote, jina_v2, modernbert
from tests.checkpoints.pooled import bert_chain, colbert, decoder_bi_encoder, ettin, modern_colbert

RECIPES = {
    "qwen3": "qwen3-reranker",
    "mxbai_v2": "mxbai-rerank-v2",
    "bge_gemma": "bge-reranker-v2-gemma",
    "zerank": "zerank",
    "ctxl": "ctxl-rerank-v2",
}
"""RERANKER_RECIPE for the checkpoints that their files do not tell apart."""

__all__ = [
    "DOCUMENTS",
    "QUERY",
    "RECIPES",
    "SENTENCES",
    "albert",
    "bert",
    "bert_chain",
    "bge_gemma",
    "bi_encoder",
    "colbert",
    "ctxl",
    "deberta",
    "decoder_bi_encoder",
    "distilbert",
    "electra",
    "ettin",
    "gte",
    "gte_remote",
    "jina_v2",
    "jina_v3",
    "modern_colbert",
    "modernbert",
    "mxbai_labels",
    "mxbai_v2",
    "nemotron",
    "nemotron_vl",
    "qwen3",
    "qwen3_classifier",
    "qwen3_logit_score",
    "xlm_roberta",
    "zerank",
]

"""mixedbread-ai/mxbai-rerank-base-v2 and -large-v2: a causal language model asked for "1" or "0".

Recipe: github.com/mixedbread-ai/mxbai-rerank, mxbai_rerank_v2.py: every piece is tokenized on its own, max_length counts query, separator
and document only; raw = logit("1") - logit("0"). Its normalised score is sigmoid(raw - M / 2) with M 9 for base and 12 for large.
(mxbai-rerank-*-v1 are DeBERTa pair encoders.)
"""

from __future__ import annotations

from msgspec.structs import replace

from batching.families.base import Family, Piece

FINGERPRINT = "You are a search relevance expert who evaluates how well documents match search queries."

BASE_HIDDEN_SIZE = 896
BASE_SHIFT = 4.5

FAMILY = Family(
    name="mxbai-rerank-v2",
    layout=(
        Piece(
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        ),
        Piece("{query}"),
        Piece("\n"),
        Piece("document: {document}"),
        Piece("\n"),
        Piece(
            f"{FINGERPRINT} For each query-document pair, carefully analyze the semantic relationship between them, then provide your "
            "binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:",
        ),
        Piece("<|im_end|>\n<|im_start|>assistant\n"),
    ),
    outside=(0, 4, 5, 6),
    query_text="query: {query}",
    instructed_text="instruction: {instruction}\nquery: {query}",
    default_max_length=8192,
    causal=True,
    shared_pieces=3,
    read="last",
    head="vocabulary",
    yes="1",
    no="0",
    shift=6.0,
)

CLASSIFIER = replace(FAMILY, name="mxbai-rerank-v2-classifier", head="model", yes=None, no=None, head_weights=("score.weight",))

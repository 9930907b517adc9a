"""Qwen/Qwen3-Reranker-0.6B, -4B, -8B: a causal language model asked for "yes" or "no", and its conversions to one-label classifiers.

Recipe: the model card's transformers example: prefix, body and suffix are tokenized on their own and only the body is cut; raw =
logit("yes") - logit("no") at the last position, score = sigmoid(raw). A classifier's `score.weight` is the difference of the two rows.
"""

from __future__ import annotations

from msgspec.structs import replace

from batching.families.base import Family, Piece

FINGERPRINT = "Judge whether the Document meets the requirements based on the Query and the Instruct provided."
"""Stands in the checkpoints' own chat templates."""

FAMILY = Family(
    name="qwen3-reranker",
    layout=(
        Piece(
            f'<|im_start|>system\n{FINGERPRINT} Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
        ),
        Piece("<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"),
        Piece(" {document}"),
        Piece("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ),
    default_instruction="Given a web search query, retrieve relevant passages that answer the query",
    default_max_length=8192,
    joint=True,
    causal=True,
    shared_pieces=2,
    read="last",
    head="vocabulary",
    yes="yes",
    no="no",
)

CLASSIFIER = replace(FAMILY, name="qwen3-reranker-classifier", head="model", yes=None, no=None, head_weights=("score.weight",))

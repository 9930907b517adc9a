"""XLM-RoBERTa pair encoders: BAAI/bge-reranker-base, -large, -v2-m3, bce-reranker, mmarco-mMiniLM and other children of RoBERTa.

Recipe: transformers XLMRobertaForSequenceClassification (token `<s>` through dense, tanh, out_proj) and FlagEmbedding's rule that only the
document is cut. Positions start at pad_token_id + 1 in every sequence.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

FAMILY = Family(
    name="xlm-roberta",
    architectures=(
        "XLMRobertaForSequenceClassification",
        "RobertaForSequenceClassification",
        "CamembertForSequenceClassification",
        "XLMRobertaXLForSequenceClassification",
        "Data2VecTextForSequenceClassification",
        "MPNetForSequenceClassification",
    ),
    layout=(
        Piece(special="cls"),
        Piece("{query}"),
        Piece(special="sep"),
        Piece(special="sep"),
        Piece("{document}"),
        Piece(special="sep"),
    ),
    native_pair=True,
    position_offset="pad",
    read="first",
    head_weights=("classifier.dense.weight", "classifier.out_proj.weight"),
)

"""BERT and Electra pair encoders: cross-encoder/ms-marco-MiniLM-*, -TinyBERT-*, -electra-base and their like; BERT's head on other bodies.

Recipe: transformers BertForSequenceClassification (pooler, then classifier) and ElectraForSequenceClassification (dense, GELU, out_proj) on
`[CLS] query [SEP] document [SEP]`. Token types are 0 up to the first `[SEP]` and 1 behind it; without them the scores are silently wrong.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

LAYOUT = (Piece(special="cls"), Piece("{query}"), Piece(special="sep"), Piece("{document}"), Piece(special="sep"))

FAMILY = Family(
    name="bert",
    architectures=("BertForSequenceClassification", "ErnieForSequenceClassification", "NomicBertForSequenceClassification"),
    layout=LAYOUT,
    native_pair=True,
    token_types=True,
    read="first",
    head_weights=("pooler.dense.weight", "classifier.weight"),
)

ELECTRA = Family(
    name="electra",
    architectures=("ElectraForSequenceClassification",),
    layout=LAYOUT,
    native_pair=True,
    token_types=True,
    read="first",
    head_weights=("classifier.dense.weight", "classifier.out_proj.weight"),
)

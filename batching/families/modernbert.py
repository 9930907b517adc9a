"""ModernBERT pair encoders: Alibaba-NLP/gte-reranker-modernbert-base, ibm-granite/granite-embedding-reranker-english-r2 and their like,
and the chains of sentence-transformers modules around the same encoder, cross-encoder/ettin-reranker-*.

Recipe: transformers ModernBertForSequenceClassification on `[CLS] query [SEP] document [SEP]`, no token types; config.json's
`classifier_pooling` says whether the first row is read or the mean. The chains: sentence_transformers.CrossEncoder over modules.json, whose
one number becomes its sigmoid unless config_sentence_transformers.json says otherwise, as ettin's does.
"""

from __future__ import annotations

from batching.families.base import Family
from batching.families.bert import LAYOUT

FAMILY = Family(
    name="modernbert",
    architectures=("ModernBertForSequenceClassification",),
    layout=LAYOUT,
    native_pair=True,
    default_max_length=8192,
    read="first",
    head_weights=("head.dense.weight", "head.norm.weight", "classifier.weight"),
)

CHAIN = Family(
    name="module-chain",
    layout=LAYOUT,
    native_pair=True,
    default_max_length=8192,
    read="first",
    head="modules",
)

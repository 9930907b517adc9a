"""Further pair encoders that need no file of their own: the layout is BERT's or RoBERTa's, the head is the checkpoint's own.

Recipes: transformers' *ForSequenceClassification of the same name; gte-multilingual and jina-reranker-v2 were published with code of
their own that is never run: `batching/scoring/native.py` reads them into transformers' classes.
"""

from __future__ import annotations

from batching.families.base import Family
from batching.families.bert import LAYOUT
from batching.families.xlm_roberta import FAMILY as XLM_ROBERTA

GTE = Family(
    name="gte",
    architectures=("NewForSequenceClassification", "GteForSequenceClassification"),
    layout=XLM_ROBERTA.layout,
    native_pair=True,
    default_max_length=8192,
    read="first",
    head_weights=("pooler.dense.weight", "classifier.weight"),
)

JINA_V2 = Family(
    name="jina-v2",
    layout=XLM_ROBERTA.layout,
    native_pair=True,
    default_max_length=1024,
    position_offset="pad",
    read="first",
    head_weights=XLM_ROBERTA.head_weights,
)

DEBERTA = Family(
    name="deberta-v2",
    architectures=("DebertaV2ForSequenceClassification", "DebertaForSequenceClassification"),
    layout=LAYOUT,
    native_pair=True,
    read="first",
    head_weights=("pooler.dense.weight", "classifier.weight"),
)

ALBERT = Family(
    name="albert",
    architectures=("AlbertForSequenceClassification",),
    layout=LAYOUT,
    native_pair=True,
    token_types=True,
    read="first",
    head_weights=("pooler.weight", "classifier.weight"),
)

DISTILBERT = Family(
    name="distilbert",
    architectures=("DistilBertForSequenceClassification",),
    layout=LAYOUT,
    native_pair=True,
    read="first",
    head_weights=("pre_classifier.weight", "classifier.weight"),
)

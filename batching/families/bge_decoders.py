"""BAAI/bge-reranker-v2-gemma and -v2-minicpm-layerwise: causal language models asked whether passage B answers query A.

Recipe: github.com/FlagOpen/FlagEmbedding, inference/reranker/decoder_only/base.py and layerwise.py: pieces are tokenized on their own;
query, separator and passage may have max_length plus the separator's and prompt's tokens, and separator and prompt come on top once more.
raw = logit("Yes") alone at the last position; the layerwise model has a row of its own for each layer instead (`head` "layerwise").
"""

from __future__ import annotations

from msgspec.structs import replace

from batching.families.base import Family, Piece

GEMMA = Family(
    name="bge-reranker-v2-gemma",
    layout=(
        Piece(special="bos"),
        Piece("A: {query}"),
        Piece("\n"),
        Piece("B: {document}"),
        Piece("\n"),
        Piece(
            "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction of "
            "either 'Yes' or 'No'.",
        ),
    ),
    outside=(4, 5, 4, 5),
    causal=True,
    shared_pieces=3,
    read="last",
    head="vocabulary",
    yes="Yes",
)

LAYERWISE = replace(GEMMA, name="bge-reranker-v2-minicpm-layerwise", head="layerwise", yes=None)
"""The cut-off layer is config.json's, or the last: layers start_layer.. have a `linear_head` each in lm_head."""

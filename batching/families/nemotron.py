"""nvidia/llama-nemotron-rerank-1b-v2 (llama-3.2-nv-rerankqa-1b-v2) and the text side of llama-nemotron-rerank-vl-1b-v2.

Recipe: the model card and its published code: one string through the tokenizer with its `<|begin_of_text|>`, every layer bidirectional, the
mean over all tokens, one linear without bias. Cutting is on the right, where the document ends.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

FAMILY = Family(
    name="nemotron-rerank",
    architectures=("LlamaBidirectionalForSequenceClassification", "LlamaNemotronVLForSequenceClassification"),
    layout=(Piece("question:{query} \n \n"), Piece(" passage:{document}")),
    native_single=True,
    joint=True,
    longest=8192,
    read="mean",
    head_weights=("score.weight",),
)

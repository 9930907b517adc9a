"""nvidia/llama-nemotron-rerank-1b-v2 (llama-3.2-nv-rerankqa-1b-v2) and llama-nemotron-rerank-vl-1b-v2, which reads images too.

Recipe: the model card and its published code: one string through the tokenizer with its `<|begin_of_text|>`, every layer bidirectional, the
mean over all tokens, one linear without bias. Cutting is on the right, where the document ends. The tokens of an image come on top of
max_length, as the card's 8,192 for text and 10,240 for both have it: an image is never cut.
"""

from __future__ import annotations

from msgspec.structs import replace

from batching.families.base import Family, Pictures, Piece

FAMILY = Family(
    name="nemotron-rerank",
    architectures=("LlamaBidirectionalForSequenceClassification",),
    layout=(Piece("question:{query} \n \n"), Piece(" passage:{document}")),
    native_single=True,
    joint=True,
    longest=8192,
    read="mean",
    head_weights=("score.weight",),
)
VISION = replace(
    FAMILY,
    architectures=("LlamaNemotronVLForSequenceClassification",),
    pictures=Pictures(marks=("<img>", "<IMG_CONTEXT>", "</img>"), layout=(Piece(" question:{query} \n \n"), Piece(" passage:{document}"))),
)

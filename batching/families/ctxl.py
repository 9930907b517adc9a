"""ContextualAI/ctxl-rerank-v2-instruct-multilingual-1b, -2b, -6b: the document first, then the query and its instruction.

Recipe: the model card: one string, the tokenizer's own special tokens, raw = the logit of vocabulary id 0 at the last position, whatever
token that is; `detect` fills its name in. The closing " ??" must stay, so only the document is cut.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

FINGERPRINT = "Check whether a given document contains information helpful to answer the query."

FAMILY = Family(
    name="ctxl-rerank-v2",
    layout=(Piece(f"{FINGERPRINT}\n<Document>"), Piece(" {document}\n"), Piece("<Query> {query} ??")),
    native_single=True,
    joint=True,
    instructed_text="{query} {instruction}",
    default_max_length=8192,
    causal=True,
    read="last",
    head="vocabulary",
    activation="identity",
)

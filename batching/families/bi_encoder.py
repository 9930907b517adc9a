"""sentence-transformers bi-encoders as rerankers: query and documents are embedded alone and compared.

Recipe: sentence_transformers.SentenceTransformer (`encode_query`, `encode_document`, `similarity`). Pooling, prompts, length and the
similarity come from the checkpoint's own module files; `detect` fills them into a copy of this family.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

FAMILY = Family(
    name="bi-encoder",
    unit="embedding",
    layout=(Piece("{document}"),),
    query_layout=(Piece("{query}"),),
    native_single=True,
    query_share=1.0,
    read="mean",
    head="cosine",
    activation="cosine",
)

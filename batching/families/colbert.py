"""ColBERT and its children (colbertv2.0, answerai-colbert-small, GTE-ModernColBERT): a vector for every token, compared by MaxSim.

Recipe: sentence_transformers.MultiVectorEncoder and PyLate: a marker token before query and document, unit vectors, for every query token
its best match among the document's tokens, summed. Markers, lengths and the tokens that are skipped come from the checkpoint's files.
Queries are filled up with mask tokens only where the checkpoint lets the query attend to them; where it does not, they are left out,
as vLLM does.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

FAMILY = Family(
    name="colbert",
    architectures=("HF_ColBERT", "ColBERTModel", "ColBERT"),
    unit="late",
    layout=(Piece("{document}"),),
    query_layout=(Piece("{query}"),),
    native_single=True,
    query_share=1.0,
    read="tokens",
    head="maxsim",
    activation="identity",
)

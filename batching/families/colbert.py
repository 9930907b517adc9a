"""ColBERT and its children (colbertv2.0, answerai-colbert-small, GTE-ModernColBERT): a vector for every token, compared by MaxSim.

Recipe: sentence_transformers.MultiVectorEncoder and PyLate: a marker token before query and document, unit vectors, for every query token
its best match among the document's tokens, summed. Markers, lengths and the tokens that are skipped come from the checkpoint's files.
Queries are filled up with mask tokens unless the checkpoint says not to. In the classic form (Stanford's, `attend` false) no token attends
to them, and their vectors, made of the query's own tokens, are compared like any other. A query longer than the filling is read
whole (the library's strategy "min"); its strategy "fixed" would cut it, and queries are never cut here.
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

"""jinaai/jina-reranker-v3 and -v3.5: listwise, all documents of a request in one prompt, read at marker tokens.

Recipe: the published code of JinaForRanking: hidden states at `<|embed_token|>` (one per document) and at the last `<|rerank_token|>` (the
query) through a two-layer projector, then cosine. A score depends on the other documents and their order. Queries of at most 512
tokens, documents of 2,048 (v3.5: 1,024 and 8,192), at most 125 documents in one prompt; more are ranked in blocks, see `listwise`.
"""

from __future__ import annotations

from msgspec.structs import replace

from batching.families.base import Family, Piece

FAMILY = Family(
    name="jina-reranker-v3",
    architectures=("JinaForRanking",),
    unit="list",
    layout=(
        Piece(
            "<|im_start|>system\nYou are a search relevance expert who can determine a ranking of the passages based on how relevant they "
            "are to the query. If the query is a question, how relevant a passage is depends on how well it answers the question. If not, "
            "try to analyze the intent of the query and assess how well each passage satisfies the intent. If an instruction is provided, "
            "you should follow the instruction when determining the ranking.<|im_end|>\n<|im_start|>",
        ),
        Piece(
            "user\nI will provide you with {count} passages, each indicated by a numerical identifier. Rank the passages based on their "
            "relevance to query: {query}\n{instruction}",
        ),
        Piece('<passage id="{number}">\n{document}'),
        Piece("<|embed_token|>"),
        Piece("\n</passage>\n"),
        Piece("<query>\n{query}"),
        Piece("<|rerank_token|>"),
        Piece("\n</query>"),
        Piece("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    ),
    instruction_text="<instruct>\n{instruction}\n</instruct>\n",
    strip=False,
    query_tokens=512,
    document_tokens=2048,
    default_max_length=2048 + 512,
    causal=True,
    read="markers",
    head="projector",
    head_weights=("projector.0.weight", "projector.2.weight"),
    markers=("<|embed_token|>", "<|rerank_token|>"),
    activation="cosine",
)

V3_5 = replace(FAMILY, query_tokens=1024, document_tokens=8192, default_max_length=8192 + 1024)
"""jina-reranker-v3.5, most of whose layers see a sliding window."""

"""zeroentropy/zerank-1, zerank-1-small, zerank-2: Qwen3, the query as system turn, the document as user turn, "Yes" or not.

Recipe: the checkpoints' published code: query and document stripped, a document's first 10,000 characters, raw = logit("Yes") alone,
score = sigmoid(raw / 5). An instruction wraps the query; zerank-1 was not trained with any.
"""

from __future__ import annotations

from batching.families.base import Family, Piece

FAMILY = Family(
    name="zerank",
    layout=(
        Piece("<|im_start|>"),
        Piece("system\n{query}"),
        Piece("<|im_end|>\n<|im_start|>"),
        Piece("user\n{document}"),
        Piece("<|im_end|>\n<|im_start|>assistant\n"),
    ),
    instructed_text="<query>{query}</query>\n<instruction>{instruction}</instruction>",
    strip=True,
    document_chars=10_000,
    default_max_length=8192,
    causal=True,
    shared_pieces=3,
    read="last",
    head="vocabulary",
    yes="Yes",
    scale=5.0,
)

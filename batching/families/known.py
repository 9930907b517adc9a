"""What a reranker of each family should make of one easy pair: `rerankd check` holds a model against it.

A wrong order means a flipped head, a lost template or no reranker at all. A gap that is too small or a score out of range points to the
same troubles in a model that happens to get the order right. Ranges are wide: they tell a broken recipe from a working one, not a good
model from a better one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from batching.families.base import Family

PARIS = (
    "What is the capital of France?",
    "Paris is the capital and most populous city of France.",
    "Bananas are rich in potassium.",
)
PANDA = (
    "what is panda?",
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear species endemic to China.",
    "hi",
)
BERLIN = (
    "How many people live in Berlin?",
    "Berlin had a population of 3,520,031 in 2019.",
    "Berlin is well known for its museums.",
)
BEIJING = (
    "What is the capital of China?",
    "The capital of China is Beijing.",
    (
        "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is responsible for the "
        "movement of planets around the sun."
    ),
)
FOUR = ("What is 2+2?", "4", "The answer is definitely 1 million")
TEA = (
    "What are the health benefits of green tea?",
    "Green tea contains antioxidants called catechins that may help reduce inflammation and protect cells from damage.",
    "Basketball is one of the most popular sports in the United States.",
)


class Known(msgspec.Struct, frozen=True):
    """One family's pair: `texts` are query, better and worse document; raw scores lie in [`lowest`, `highest`], `gap` apart at least.

    `published`: raw scores of both documents by part of a model's name, where its authors gave them.
    """

    texts: tuple[str, str, str]
    gap: float
    lowest: float
    highest: float
    published: dict[str, tuple[float, float]] = {}


class Verdict(msgspec.Struct, frozen=True):
    """`ordered`: the better document comes first; `doubts`: what looks wrong with the scale, a sentence each."""

    ordered: bool
    doubts: tuple[str, ...]


LOGITS = Known(PARIS, 1.0, -16.0, 16.0)
COSINES = Known(PARIS, 0.05, -1.0001, 1.0001)
KNOWN: dict[str, Known] = {
    "xlm-roberta": Known(PANDA, 1.0, -16.0, 16.0, {"bge-reranker-v2-m3": (5.2650, -8.1838)}),
    "jina-v2": LOGITS,
    "bert": Known(BERLIN, 1.0, -16.0, 16.0, {"ms-marco-minilm-l6-v2": (8.40307, -4.3200774)}),
    "electra": Known(BERLIN, 1.0, -16.0, 16.0),
    "albert": LOGITS,
    "distilbert": LOGITS,
    "modernbert": LOGITS,
    "module-chain": Known(PARIS, 1.0, -16.0, 26.0),
    "gte": Known(PARIS, 0.5, -16.0, 16.0),
    "deberta-v2": LOGITS,
    "nemotron-rerank": Known(PARIS, 2.0, -40.0, 40.0),
    "qwen3-reranker": Known(BEIJING, 2.0, -30.0, 30.0),
    "qwen3-reranker-classifier": Known(BEIJING, 2.0, -30.0, 30.0),
    "mxbai-rerank-v2": Known(PARIS, 1.0, -25.0, 30.0),
    "mxbai-rerank-v2-classifier": Known(PARIS, 1.0, -25.0, 30.0),
    "bge-reranker-v2-gemma": Known(PANDA, 1.0, -60.0, 60.0),
    "bge-reranker-v2-minicpm-layerwise": Known(PANDA, 1.0, -60.0, 60.0),
    # raw = 5 * logit of the published 0.7531883 and 0.28894895
    "zerank": Known(FOUR, 1.0, -60.0, 60.0, {"zerank-2": (5.5747, -4.5019)}),
    "ctxl-rerank-v2": Known(PARIS, 0.5, -60.0, 60.0),
    "jina-reranker-v3": Known(TEA, 0.05, -1.0001, 1.0001),
    "bi-encoder": COSINES,
    "colbert": Known(PARIS, 0.3, -8192.0, 8192.0),
}
"""By a family's name."""
NEAR, NEAR_SHARE = 0.25, 0.05
"""How far a score may be from a published one: absolute, and as a part of it. bfloat16 is much nearer."""


def known_of(family: Family) -> Known:
    """The family's pair; a dot product has no range."""
    known = KNOWN.get(family.name, LOGITS)
    return msgspec.structs.replace(known, gap=0.0, lowest=-1e9, highest=1e9) if family.head == "dot" else known


def judge(family: Family, names: Iterable[str], good: float, bad: float) -> Verdict:
    """What the raw scores of the family's two documents say about a model that goes by `names`; NaN is in no order."""
    known, doubts = known_of(family), []
    if not good - bad >= known.gap:
        doubts.append(
            f"the two raw scores differ by {good - bad:.3g}, where {family.name} tells such documents apart by {known.gap:g} or more"
        )
    out = next((raw for raw in (good, bad) if not known.lowest <= raw <= known.highest), None)
    if out is not None:
        doubts.append(f"the raw score {out:.4g} is outside {family.name}'s range of {known.lowest:g} to {known.highest:g}")
    lower = [name.lower() for name in names]
    for part, wanted in known.published.items():
        far = [(got, want) for got, want in zip((good, bad), wanted, strict=True) if not abs(got - want) <= NEAR + NEAR_SHARE * abs(want)]
        if far and any(part in name for name in lower):
            doubts.append(f"{part} was published with the raw score {far[0][1]:.4g} where this one has {far[0][0]:.4g}")
    return Verdict(good > bad, tuple(doubts))

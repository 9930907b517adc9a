"""Published scores of published checkpoints, to be held against real weights, which are not in this repository.

Put model directories under one folder, each called as on the hub without its owner (`bge-reranker-v2-m3`), and name that folder in
RERANKD_GOLDEN_DIR. Sources: the model cards and the libraries' documentation, as noted. For nemotron-rerank only figures over a whole
corpus are published (NFCorpus, ndcg@10 0.33994), so it is held against its known pair alone, as is every other model in the folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from batching.families.activate import activate
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.families.known import Verdict, judge, known_of
from batching.scoring.load import load_scorer
from batching.scoring.options import DTypeChoice, ScoringOptions
from tests.models.packs import scores

FOLDER = os.environ.get("RERANKD_GOLDEN_DIR")
PANDA = "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear or simply panda, is a bear species endemic to China."


BERLIN = "How many people live in Berlin?"
MOCKINGBIRD = (
    (
        "'To Kill a Mockingbird' is a novel by Harper Lee published in 1960. It was immediately successful, winning the Pulitzer Prize, and has "
        "become a classic of modern American literature."
    ),
    (
        "The novel 'Moby-Dick' was written by Herman Melville and first published in 1851. It is considered a masterpiece of American literature "
        "and deals with complex themes of obsession, revenge, and the conflict between good and evil."
    ),
    (
        "Harper Lee, an American novelist widely known for her novel 'To Kill a Mockingbird', was born in 1926 in Monroeville, Alabama. She "
        "received the Pulitzer Prize for Fiction in 1961."
    ),
    (
        "Jane Austen was an English novelist known primarily for her six major novels, which interpret, critique and comment upon the British "
        "landed gentry at the end of the 18th century."
    ),
    (
        "The 'Harry Potter' series, which consists of seven fantasy novels written by British author J.K. Rowling, is among the most popular and "
        "critically acclaimed books of the modern era."
    ),
    (
        "'The Great Gatsby', a novel written by American author F. Scott Fitzgerald, was published in 1925. The story is set in the Jazz Age and "
        "follows the life of millionaire Jay Gatsby and his pursuit of Daisy Buchanan."
    ),
)
GREEN_TEA = (
    "Green tea contains antioxidants called catechins that may help reduce inflammation and protect cells from damage.",
    "El precio del café ha aumentado un 20% este año debido a problemas en la cadena de suministro.",
    "Studies show that drinking green tea regularly can improve brain function and boost metabolism.",
    "Basketball is one of the most popular sports in the United States.",
    "绿茶富含儿茶素等抗氧化剂，可以降低心脏病风险，还有助于控制体重。",  # noqa: RUF001  as published
    "Le thé vert est riche en antioxydants et peut améliorer la fonction cérébrale.",
)


@dataclass(frozen=True)
class Golden:
    """`expected` are raw scores, or with `activated` what callers see; `tolerance` as published, or that of the last digit given.

    `alone`: every document in a request of its own; `dtype`: the number type that the figures were published in.
    """

    model: str
    query: str
    documents: tuple[str, ...]
    expected: tuple[float, ...]
    tolerance: float
    activated: bool = False
    alone: bool = False
    dtype: DTypeChoice = "float32"


GOLDEN = (
    # BAAI's README: float32, its sigmoid, and as published for fp16
    Golden("bge-reranker-v2-m3", "what is panda?", ("hi", PANDA), (-8.1838, 5.2650), 2e-3),
    Golden("bge-reranker-v2-m3", "what is panda?", ("hi", PANDA), (0.00028, 0.9948), 1e-4, activated=True),
    Golden("bge-reranker-v2-m3", "what is panda?", ("hi", PANDA), (-8.1875, 5.2617), 2e-2),
    # sentence-transformers' documentation of CrossEncoder: predict, rank, and an older text of the same pair
    Golden(
        "ms-marco-MiniLM-L6-v2", BERLIN,
        ("Berlin had a population of 3,520,031 in 2019.", "Berlin is well known for its museums."), (8.40307, -4.3200774), 2e-3,
    ),
    Golden(
        "ms-marco-MiniLM-L6-v2", "Who wrote 'To Kill a Mockingbird'?", MOCKINGBIRD,
        (10.678577, -3.309951, 9.761674, -6.478002, -5.082062, -4.898909), 2e-3,
    ),
    Golden(
        "ms-marco-MiniLM-L6-v2", BERLIN,
        ("Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",), (8.607138,), 2e-3,
    ),
    # transformers' figure in text-embeddings-inference, pull request 835
    Golden(
        "Qwen3-Reranker-0.6B", "What is the capital of China?", ("The capital of Korea is Seoul.",), (0.001029968,), 2e-4, activated=True
    ),
    # the model card
    Golden("zerank-2", "What is 2+2?", ("4", "The answer is definitely 1 million"), (0.7531883, 0.28894895), 2e-2, activated=True),
    # vLLM's test of the model: each document in a list of its own, and all in one
    Golden(
        "jina-reranker-v3", "What are the health benefits of green tea?", GREEN_TEA,
        (0.345703125, -0.10498046, 0.314453125, -0.1376953125, 0.3398437500, 0.2539062), 1e-2, alone=True, dtype="bfloat16",
    ),
    Golden(
        "jina-reranker-v3", "What are the health benefits of green tea?", GREEN_TEA,
        (0.294921875, -0.16015625, 0.189453125, -0.1708984375, 0.2255859375, 0.1640625), 1e-2, dtype="bfloat16",
    ),
)  # fmt: skip


def test_goldens_are_whole() -> None:
    """Every document has its figure, and the models are those whose scores were published."""
    assert all(len(golden.documents) == len(golden.expected) for golden in GOLDEN)
    named = {"bge-reranker-v2-m3", "ms-marco-MiniLM-L6-v2", "Qwen3-Reranker-0.6B", "zerank-2", "jina-reranker-v3"}
    assert {golden.model for golden in GOLDEN} == named


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: f"{golden.model} {len(golden.documents)} {golden.dtype}")
def test_published_scores(golden: Golden) -> None:
    """Real weights give the scores that were published for them, on the CPU."""
    if FOLDER is None:
        pytest.skip("RERANKD_GOLDEN_DIR names no folder of models")
    directory = Path(FOLDER) / golden.model
    if not directory.is_dir():
        pytest.skip(f"{directory} is not there")
    card = detect(directory, golden.model)
    encoder, scorer = Encoder(card), load_scorer(card, ScoringOptions(dtype=golden.dtype))
    requests = [(document,) for document in golden.documents] if golden.alone else [golden.documents]
    raw = np.concatenate([scores(scorer, encoder.encode(golden.query, request).sequences) for request in requests])
    found = activate(raw, card) if golden.activated else raw
    np.testing.assert_allclose(found, golden.expected, atol=golden.tolerance, rtol=0)


def folders() -> list[Path]:
    """Every model there is."""
    return [] if FOLDER is None else sorted(path.parent for path in Path(FOLDER).glob("*/config.json"))


@pytest.mark.parametrize("directory", folders(), ids=lambda path: path.name)
def test_known_pairs(directory: Path) -> None:
    """Every model given, also one without published figures (nemotron, mxbai, gte …), has its family's known pair in order and to scale."""
    card = detect(directory, directory.name)
    query, good, bad = known_of(card.family).texts
    worse, better = scores(load_scorer(card, ScoringOptions()), Encoder(card).encode(query, [bad, good]).sequences).tolist()
    assert judge(card.family, (card.name,), better, worse) == Verdict(ordered=True, doubts=())

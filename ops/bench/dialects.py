"""What a dialect costs: dispatch, decode and encode of one call with 20 documents of 400 characters, per dialect.

    python -m ops.bench.dialects [--documents 20] [--characters 400] [--repeats 2000]

Prints the median in microseconds; nothing is tokenized, queued or scored. The documents come back wherever the dialect can give them back.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from service.dialects import table
from service.schemas import RerankRequest, RerankResult

LIMIT_US = 150.0
WORDS = (
    "reranking",
    "sorts",
    "documents",
    "by",
    "how",
    "well",
    "they",
    "answer",
    "a",
    "query",
    "\u201cquoted\u201d",
    "caf\u00e9",
    "line\nbreak",
)


def document(number: int, characters: int) -> str:
    """Return text of that many characters, with some that JSON escapes and some outside ASCII."""
    words = (WORDS[(number * 7 + index * 3) % len(WORDS)] for index in range(characters))
    return " ".join(words)[:characters]


def result(request: RerankRequest) -> RerankResult:
    """Return a made-up ranking of a request."""
    count = len(request.documents)
    raw = np.linspace(-8.0, 8.0, count, dtype=np.float32)
    best = request.top_n or count
    return RerankResult(
        id="0b7a4c1e-9d52-4f7c-8a39-6f0e5b1d2c3a",
        model="cross-encoder/ms-marco-MiniLM-L6-v2",
        created=1_760_000_000,
        raw=raw,
        scores=1.0 / (1.0 + np.exp(-raw.astype(np.float64))),
        order=list(range(count))[::-1][:best],
        truncated=np.zeros(count, dtype=np.bool_),
        pair_tokens=count * 110,
    )


def calls(texts: list[str]) -> Iterable[tuple[str, str, dict[str, str], dict[str, Any]]]:
    """Yield a label, a path, headers and a body for every dialect."""
    query = "how are documents sorted by relevance"
    asked = {"query": query, "documents": texts, "model": "m"}
    objects = [{"text": text} for text in texts]
    structured = [{"title": text[:40], "year": 2020 + index, "body": text[40:]} for index, text in enumerate(texts)]
    yield "plain", "/rerank", {}, {"query": query, "documents": texts, "top_n": len(texts)}
    yield "common", "/v2/rerank", {}, asked
    yield "common, documents back", "/rerank", {}, {**asked, "return_documents": True}
    yield "common, data beside, documents back", "/v1/rerank", {}, {**asked, "return_documents": True}
    yield "common, structured, rank_fields", "/v1/rerank", {}, {**asked, "documents": structured, "rank_fields": ["title", "body"]}
    yield "common, structured, whole, back", "/v1/rerank", {}, {**asked, "documents": structured, "return_documents": True}
    yield "voyage", "/v1/rerank", {}, {**asked, "top_k": None, "truncation": True, "return_documents": True}
    yield "tei", "/rerank", {}, {"query": query, "texts": texts, "return_text": True}
    yield "tei_predict", "/predict", {}, {"inputs": [[query, text] for text in texts]}
    yield "tei_vertex", "/vertex", {}, {"instances": [{"query": query, "texts": texts, "return_text": True}]}
    yield "texts", "/v1/reranking", {}, {"query": query, "texts": texts}
    yield "pairs", "/rerank/batch", {}, {"pairs": [{"query": query, "passage": text} for text in texts]}
    yield "passages", "/rerank/query", {}, {"query": query, "passages": texts}
    yield "librechat", "/v1/rerank", {}, {"query": query, "candidates": [{"id": str(n), "text": t} for n, t in enumerate(texts)]}
    yield "nim", "/v1/ranking", {}, {"model": "m", "query": {"text": query}, "passages": objects}
    yield (
        "dashscope",
        "/api/v1/services/rerank/text-rerank/text-rerank",
        {},
        {
            "model": "m",
            "input": {"query": query, "documents": texts},
            "parameters": {"return_documents": True},
        },
    )
    yield "mixedbread", "/v1/reranking", {}, {"query": query, "input": texts, "top_k": len(texts), "return_input": True}
    yield "vllm_score", "/score", {}, {"text_1": query, "text_2": texts}
    yield "deepinfra", "/v1/inference/m", {}, {"queries": [query] * len(texts), "documents": texts}
    yield "pinecone", "/rerank", {"x-pinecone-api-version": "2025-10"}, {**asked, "documents": objects, "rank_fields": ["text"]}
    yield "items", "/api/v1/rerank", {}, {"query": query, "documents": [{"id": n, "text": t} for n, t in enumerate(texts)]}


def measure(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of `work` in microseconds."""
    for _ in range(max(20, repeats // 10)):
        work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        work()
        spent.append(time.perf_counter_ns() - began)
    return statistics.median(spent) / 1000


def cost(path: str, headers: dict[str, str], body: bytes, repeats: int) -> tuple[str, float, int]:
    """Return the dialect that a call is taken for, its median cost in microseconds, and the bytes of its answer."""
    found = table.call(path, headers)
    results = [result(request) for request in table.read(body, found).requests]

    def work() -> bytes:
        seen = table.call(path, headers)
        return table.write(table.read(body, seen), results, seen)[0]

    return found.dialect, measure(work, repeats), len(work())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--characters", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=2000)
    options = parser.parse_args()
    texts = [document(number, options.characters) for number in range(options.documents)]
    print(
        f"| call ({options.documents} documents of {options.characters} characters) | dialect | JSON µs | MessagePack µs | answer bytes |"
    )
    print("|---|---|---:|---:|---:|")
    slowest = 0.0
    for label, path, headers, fields in calls(texts):
        name, json_us, size = cost(path, headers, msgspec.json.encode(fields), options.repeats)
        packed = {**headers, "content-type": "application/msgpack"}
        _, packed_us, _ = cost(path, packed, msgspec.msgpack.encode(fields), options.repeats)
        slowest = max(slowest, json_us, packed_us)
        print(f"| {label} | {name} | {json_us:.1f} | {packed_us:.1f} | {size:,} |")
    print(f"\nslowest {slowest:.1f} µs; {'within' if slowest <= LIMIT_US else 'OVER'} the limit of {LIMIT_US:.0f} µs")


if __name__ == "__main__":
    main()

"""One or more calls per dialect, as its clients really make them, and what is answered: made by the dialects themselves, so always true."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from service.dialects import table, tei_tokens
from service.schemas import RerankRequest, RerankResult, Timings

_QUERY = "how do otters sleep"
_TEXTS = ["Otters float on their backs and hold hands.", "Tides follow the moon.", "Sea otters wrap themselves in kelp to sleep."]
_LOGITS = (0.5, -4.0, 2.5)
_ASKED = {"query": _QUERY, "documents": _TEXTS}


class Example(msgspec.Struct, frozen=True):
    """A call and its answer. `headers` are those that tell the dialect."""

    dialect: str
    summary: str
    path: str
    request: dict[str, Any]
    response: Any
    headers: dict[str, str] = {}


_CALLS: tuple[tuple[str, str, dict[str, Any], dict[str, str]], ...] = (
    ("native", "/rerank", {**_ASKED, "top_n": 2}, {}),
    ("native, documents back", "/rerank", {**_ASKED, "return_documents": True}, {}),
    ("Cohere v1", "/v1/rerank", {"model": "rerank-v3.5", **_ASKED, "top_n": 2, "return_documents": True}, {}),
    ("Cohere v2", "/v2/rerank", {"model": "rerank-v3.5", **_ASKED, "top_n": 2, "max_tokens_per_doc": 4096}, {}),
    ("Jina", "/v1/rerank", {"model": "jina-reranker-v2-base-multilingual", **_ASKED, "top_n": 3, "return_documents": False}, {}),
    ("structured documents", "/v1/rerank", {"query": "novels of the sea", "documents": [
        {"title": "Moby-Dick", "year": 1851}, {"title": "Emma", "year": 1815}], "rank_fields": ["title", "year"]}, {}),
    ("Voyage", "/v1/rerank", {**_ASKED, "model": "rerank-2.5", "top_k": None, "truncation": True}, {}),
    ("TEI", "/rerank", {"query": _QUERY, "texts": _TEXTS, "return_text": True, "raw_scores": False}, {}),
    ("TEI predict", "/predict", {"inputs": [[_QUERY, text] for text in _TEXTS]}, {}),
    ("TEI behind Vertex AI", "/vertex", {"instances": [{"query": _QUERY, "texts": _TEXTS}]}, {}),
    ("texts, answered with an object", "/v1/reranking", {"query": _QUERY, "texts": _TEXTS, "top_k": 2, "return_texts": True}, {}),
    ("one pair", "/rerank", {"query": _QUERY, "passage": _TEXTS[0], "normalize": True}, {}),
    ("pairs", "/rerank/batch", {"pairs": [{"query": _QUERY, "passage": text} for text in _TEXTS], "normalize": False}, {}),
    ("passages", "/rerank/query", {"query": _QUERY, "passages": _TEXTS}, {}),
    ("LibreChat", "/v1/rerank", {"query": _QUERY, "candidates": [
        {"id": str(number), "text": text, "base_score": 0.5} for number, text in enumerate(_TEXTS)], "top_n": 2, "profile": "fast-v1"}, {}),
    ("NVIDIA NIM", "/v1/ranking", {"model": "nvidia/llama-nemotron-rerank-1b-v2", "query": {"text": _QUERY}, "passages": [
        {"text": text} for text in _TEXTS], "truncate": "END"}, {}),
    ("DashScope", "/api/v1/services/rerank/text-rerank/text-rerank", {"model": "gte-rerank-v2", "input": _ASKED, "parameters": {
        "return_documents": True, "top_n": 2}}, {}),
    ("DashScope, OpenAI-compatible", "/reranks", {"model": "qwen3-rerank", **_ASKED, "top_n": 2}, {}),
    ("Mixedbread", "/v1/reranking", {"model": "mixedbread-ai/mxbai-rerank-large-v2", "query": _QUERY, "input": _TEXTS, "top_k": 2}, {}),
    ("vLLM score", "/score", {"model": "BAAI/bge-reranker-v2-m3", "text_1": _QUERY, "text_2": _TEXTS}, {}),
    ("DeepInfra", "/v1/inference/Qwen/Qwen3-Reranker-0.6B", {"queries": [_QUERY] * len(_TEXTS), "documents": _TEXTS}, {}),
    ("Pinecone", "/rerank", {"model": "bge-reranker-v2-m3", "query": _QUERY, "documents": [
        {"id": str(number), "text": text} for number, text in enumerate(_TEXTS)], "rank_fields": ["text"], "return_documents": True},
        {"x-pinecone-api-version": "2025-10"}),
    ("documents with ids", "/api/v1/rerank", {"query": _QUERY, "documents": [
        {"id": 10 + number, "text": text} for number, text in enumerate(_TEXTS)]}, {}),
)  # fmt: skip


def openapi_examples() -> list[Example]:
    """Every example; the scores are made up, the rest is what the server answers."""
    return [_example(*asked) for asked in _CALLS] + [_tokenize()]


def _example(summary: str, path: str, request: dict[str, Any], headers: dict[str, str]) -> Example:
    found = table.call(path, headers)
    decoded = table.read(msgspec.json.encode(request), found)
    body, _, _ = table.write(decoded, [_result(ranked) for ranked in decoded.requests], found)
    return Example(found.dialect, summary, path, request, msgspec.json.decode(body), headers)


def _tokenize() -> Example:
    tokens = [
        [
            tei_tokens.Token(101, "[CLS]", True, None, None),
            tei_tokens.Token(22279, "otter", False, 0, 5),
            tei_tokens.Token(102, "[SEP]", True, None, None),
        ]
    ]
    return Example(table.TOKENIZE, "TEI tokenize", "/tokenize", {"inputs": "otter"}, msgspec.to_builtins(tokens))


def _result(request: RerankRequest) -> RerankResult:
    count = len(request.documents)
    raw = np.resize(np.array(_LOGITS, np.float32), count)
    order = np.argsort(-raw, kind="stable").tolist()
    return RerankResult(
        id="3f0c2a9d41f64d0c9c0f5d7a1e2b3c4d",
        model="BAAI/bge-reranker-v2-m3",
        created=1_767_225_600,
        raw=raw,
        scores=1.0 / (1.0 + np.exp(-raw.astype(np.float64))),
        order=order[: request.top_n or None],
        truncated=np.zeros(count, np.bool_),
        pair_tokens=18 * count,
        timings=Timings(tokenize_s=0.001, queue_s=0.0, forward_s=0.012, total_s=0.014),
    )

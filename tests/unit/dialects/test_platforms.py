"""Platforms whose rerank call is their own code and no library's: the bodies they send, and what they read out of the answer.

As their sources have it: Open WebUI's external reranker, Dify's model providers, RAGFlow's rerank models, LibreChat. Those of them that can be
installed are run for real by `just test-clients`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.dialects.wire import exchange

QUERY = "How do sea otters sleep?"
TEXTS = ["Short.", "The longest of them all is the best one here.", "In between, as ever."]
BEST_FIRST = [1, 2, 0]
ASKED = {"model": "any", "query": QUERY, "documents": TEXTS}

Read = Callable[[Any], list[int]]


def in_order_of_documents(answer: Any) -> list[int]:
    """Open WebUI sorts by index, takes every document's score, and ranks by itself."""
    scores = [item["relevance_score"] for item in sorted(answer["results"], key=lambda item: item["index"])]
    assert len(scores) == len(TEXTS)
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def with_text(answer: Any) -> list[int]:
    """Dify's Xinference, SiliconFlow and OpenAI-compatible providers read the document's text."""
    assert [item["document"]["text"] for item in answer["results"]] == [TEXTS[item["index"]] for item in answer["results"]]
    return plain(answer)


def plain(answer: Any) -> list[int]:
    """Dify's Jina, LocalAI and GPUStack, RAGFlow's Jina: a document only where it was asked for, since they take it for an object."""
    assert all(isinstance(item["relevance_score"], float) for item in answer["results"])
    return [item["index"] for item in answer["results"]]


def without_document(answer: Any) -> list[int]:
    """A `document` that nobody asked for would be read."""
    assert all("document" not in item for item in answer["results"])
    return plain(answer)


def bare_list(answer: Any) -> list[int]:
    """Dify's text-embeddings-inference provider."""
    assert all(item["text"] == TEXTS[item["index"]] for item in answer)
    return [item["index"] for item in answer]


def logits(answer: Any) -> list[int]:
    """RAGFlow's NVIDIA."""
    assert all(isinstance(item["logit"], float) for item in answer["rankings"])
    return [item["index"] for item in answer["rankings"]]


CALLS: list[tuple[str, str, dict[str, Any], Read]] = [
    ("Open WebUI", "/v1/rerank", {**ASKED, "top_n": 3}, in_order_of_documents),
    ("Dify, OpenAI-API-compatible", "/rerank", {**ASKED, "top_n": None, "return_documents": True}, with_text),
    ("Dify, Jina", "/v1/rerank", {**ASKED, "top_n": 3, "return_documents": False}, without_document),
    ("Dify, LocalAI", "/rerank", {**ASKED, "top_n": 3}, without_document),
    ("Dify, GPUStack", "/v1/rerank", {**ASKED, "top_n": 3}, without_document),
    ("Dify, Xinference", "/v1/rerank", {**ASKED, "top_n": 3, "return_documents": True}, with_text),
    ("Dify, SiliconFlow", "/v1/rerank", {**ASKED, "top_n": 3, "return_documents": True}, with_text),
    ("Dify, text-embeddings-inference", "/rerank", {"query": QUERY, "texts": TEXTS, "return_text": True}, bare_list),
    ("RAGFlow, Jina", "/v1/rerank", {**ASKED, "top_n": 3}, without_document),
    ("RAGFlow, OpenAI-API-compatible", "/rerank", {**ASKED, "top_n": 3}, without_document),
    ("RAGFlow, Xinference", "/v1/rerank", {**ASKED, "return_documents": "true", "return_len": "true"}, with_text),
    (
        "RAGFlow, NVIDIA",
        "/reranking",
        {"model": "any", "query": {"text": QUERY}, "passages": [{"text": text} for text in TEXTS], "truncate": "END", "top_n": 3},
        logits,
    ),
    ("RAGFlow, Cohere and vLLM", "/v1/rerank", {**ASKED, "top_n": 3, "return_documents": False}, without_document),
    ("LibreChat, Jina", "/v1/rerank", {**ASKED, "top_n": 3, "return_documents": True}, with_text),
    (
        "LibreChat, RAG API",
        "/v1/rerank",
        {"query": QUERY, "candidates": [{"id": str(n), "text": text, "base_score": 0.5} for n, text in enumerate(TEXTS)], "top_n": 3, "profile": "fast-v1"},
        lambda answer: [item["index"] for item in answer["results"] if isinstance(item["score"], float)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "read"), [call[1:] for call in CALLS], ids=[call[0] for call in CALLS])
def test_what_a_platform_sends_is_answered_as_it_reads(path: str, body: dict[str, Any], read: Read) -> None:
    """The best first, scores within 0 and 1 where it takes them as they are."""
    answer = exchange(path, body).answer
    assert read(answer) == BEST_FIRST
    if isinstance(answer, dict):
        assert all(0.0 <= item["relevance_score"] <= 1.0 for item in answer.get("results", []) if "relevance_score" in item)

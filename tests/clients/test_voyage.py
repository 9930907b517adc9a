"""Voyage's SDK, and LangChain's and LlamaIndex's wrappers of it."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.corpus import BEST, DOCUMENTS, KEY, QUERY, check, check_texts

pytestmark = pytest.mark.clients


def test_sdk(url: str) -> None:
    """Results hold the document, the usage holds tokens."""
    import voyageai

    client = voyageai.Client(api_key=KEY, base_url=f"{url}/v1")
    for top_k in (None, 2):
        answer = client.rerank(QUERY, DOCUMENTS, model="rerank-2.5", top_k=top_k)
        check([item.index for item in answer.results], [item.relevance_score for item in answer.results], top_k or len(DOCUMENTS))
        assert answer.results[0].document == DOCUMENTS[BEST]
        assert answer.total_tokens > 0


def test_async(url: str) -> None:
    """The asynchronous client does the same."""
    import voyageai

    answer = asyncio.run(voyageai.AsyncClient(api_key=KEY, base_url=f"{url}/v1").rerank(QUERY, DOCUMENTS, model="rerank-2.5"))
    check([item.index for item in answer.results], [item.relevance_score for item in answer.results])


def test_bad_input(url: str) -> None:
    """Bad input is an InvalidRequestError with the server's words."""
    import voyageai

    with pytest.raises(voyageai.error.InvalidRequestError, match="whitespace"):
        voyageai.Client(api_key=KEY, base_url=f"{url}/v1").rerank(" ", DOCUMENTS, model="rerank-2.5")


def test_langchain(url: str) -> None:
    """LangChain's compressor keeps the best documents, best first."""
    from langchain_core.documents import Document
    from langchain_voyageai import VoyageAIRerank

    ranker = VoyageAIRerank(model="rerank-2.5", voyage_api_key=KEY, base_url=f"{url}/v1", top_k=3)
    found = ranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    check_texts([item.page_content for item in found], [item.metadata["relevance_score"] for item in found], 3)

"""LangChain's rerankers."""

from __future__ import annotations

import pytest

from tests.clients.corpus import DOCUMENTS, KEY, QUERY, check, check_texts

pytestmark = pytest.mark.clients


def test_cohere(url: str) -> None:
    """CohereRerank compresses, and ranks plain strings."""
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    ranker = CohereRerank(model="rerank-v3.5", cohere_api_key=KEY, base_url=url, top_n=3)
    found = ranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    check_texts([item.page_content for item in found], [item.metadata["relevance_score"] for item in found], 3)
    ranked = CohereRerank(model="rerank-v3.5", cohere_api_key=KEY, base_url=url, top_n=None).rerank(DOCUMENTS, QUERY)
    check([item["index"] for item in ranked], [item["relevance_score"] for item in ranked])


@pytest.mark.parametrize("model", [None, "served"])
def test_nvidia(url: str, model: str | None) -> None:
    """NVIDIARerank finds the model by itself or takes the served one's name; its scores are logits."""
    from langchain_core.documents import Document
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    named = {} if model is None else {"model": NVIDIARerank(base_url=f"{url}/v1", api_key=KEY).model}
    ranker = NVIDIARerank(base_url=f"{url}/v1", api_key=KEY, top_n=3, truncate="END", **named)
    found = ranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    check_texts([item.page_content for item in found], [item.metadata["relevance_score"] for item in found], 3, unit=False)

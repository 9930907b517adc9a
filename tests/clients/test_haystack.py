"""Haystack's rankers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.corpus import DOCUMENTS, KEY, QUERY, check_texts

pytestmark = pytest.mark.clients


def run(ranker: Any, count: int, unit: bool = True) -> None:
    """Run a ranker over the corpus and check what it keeps."""
    from haystack import Document

    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in DOCUMENTS], top_k=count)["documents"]
    check_texts([item.content for item in found], [item.score for item in found], count, unit)


@pytest.mark.parametrize("count", [2, 4])
def test_cohere(url: str, count: int) -> None:
    """CohereRanker."""
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.cohere import CohereRanker

    run(CohereRanker(api_key=Secret.from_token(KEY), api_base_url=url), count)


@pytest.mark.parametrize("count", [2, 4])
def test_jina(url: str, count: int) -> None:
    """JinaRanker."""
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.jina import JinaRanker

    run(JinaRanker(api_key=Secret.from_token(KEY), base_url=f"{url}/v1/rerank"), count)

"""Cohere's SDK, both versions of the API, in step and out of step."""

from __future__ import annotations

import asyncio

import pytest

from tests.clients.corpus import BEST, DOCUMENTS, KEY, QUERY, check

pytestmark = pytest.mark.clients


def test_v1(url: str) -> None:
    """v1 ranks strings and gives documents back as objects where asked."""
    import cohere

    client = cohere.Client(KEY, base_url=url)
    answer = client.rerank(query=QUERY, documents=DOCUMENTS, model="rerank-v3.5", return_documents=True)
    check([item.index for item in answer.results], [item.relevance_score for item in answer.results])
    assert answer.results[0].document is not None
    assert answer.results[0].document.text == DOCUMENTS[BEST]
    assert answer.meta is not None
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.search_units == 1
    short = client.rerank(query=QUERY, documents=DOCUMENTS, model="rerank-v3.5", top_n=2)
    check([item.index for item in short.results], [item.relevance_score for item in short.results], 2)
    assert short.results[0].document is None


def test_v1_structured(url: str) -> None:
    """v1 ranks objects by the fields that it names."""
    import cohere

    documents = [{"title": "no. " + str(index), "body": text} for index, text in enumerate(DOCUMENTS)]
    answer = cohere.Client(KEY, base_url=url).rerank(
        query=QUERY, documents=documents, model="rerank-v3.5", rank_fields=["title", "body"], max_chunks_per_doc=10, return_documents=True
    )
    check([item.index for item in answer.results], [item.relevance_score for item in answer.results])


def test_v2(url: str) -> None:
    """v2 ranks strings."""
    import cohere

    answer = cohere.ClientV2(KEY, base_url=url).rerank(
        model="rerank-v3.5", query=QUERY, documents=DOCUMENTS, top_n=3, max_tokens_per_doc=4096, priority=1
    )
    check([item.index for item in answer.results], [item.relevance_score for item in answer.results], 3)


def test_async(url: str) -> None:
    """Both asynchronous clients do the same."""
    import cohere

    async def both() -> None:
        v1 = await cohere.AsyncClient(KEY, base_url=url).rerank(query=QUERY, documents=DOCUMENTS, model="m")
        check([item.index for item in v1.results], [item.relevance_score for item in v1.results])
        v2 = await cohere.AsyncClientV2(KEY, base_url=url).rerank(model="m", query=QUERY, documents=DOCUMENTS)
        check([item.index for item in v2.results], [item.relevance_score for item in v2.results])

    asyncio.run(both())


@pytest.mark.parametrize(("query", "documents"), [(QUERY, []), (" ", DOCUMENTS)])
def test_bad_input(url: str, query: str, documents: list[str]) -> None:
    """Bad input is a BadRequestError at the first try, with the server's words."""
    import cohere

    for client in (cohere.ClientV2(KEY, base_url=url), cohere.Client(KEY, base_url=url)):
        with pytest.raises(cohere.BadRequestError, match="empty"):
            client.rerank(model="m", query=query, documents=documents)

"""Other SDKs whose base URL can be set."""

from __future__ import annotations

import pytest

from tests.clients.corpus import BEST, DOCUMENTS, KEY, QUERY, check

pytestmark = pytest.mark.clients


def test_pinecone(url: str) -> None:
    """Pinecone's inference.rerank wraps strings and gives documents back."""
    from pinecone import Pinecone

    answer = Pinecone(api_key=KEY, host=url).inference.rerank(model="bge-reranker-v2-m3", query=QUERY, documents=DOCUMENTS, top_n=3)
    check([item.index for item in answer.data], [item.score for item in answer.data], 3)
    assert answer.data[0].document["text"] == DOCUMENTS[BEST]


def test_together(url: str) -> None:
    """Together's rerank."""
    from together import Together

    answer = Together(api_key=KEY, base_url=url).rerank.create(model="m", query=QUERY, documents=DOCUMENTS, return_documents=True)
    check([item.index for item in answer.results], [item.relevance_score for item in answer.results])
    assert answer.results[0].document.text == DOCUMENTS[BEST]


def test_mixedbread(url: str) -> None:
    """Mixedbread's rerank."""
    from mixedbread import Mixedbread

    answer = Mixedbread(api_key=KEY, base_url=url).rerank(query=QUERY, input=DOCUMENTS, top_k=3, return_input=True)
    check([item.index for item in answer.data], [item.score for item in answer.data], 3)
    assert answer.data[0].input == DOCUMENTS[BEST]


def test_mixedbread_before(url: str) -> None:
    """Mixedbread's SDK before that one, which is strict about what comes back."""
    from mixedbread_ai.client import MixedbreadAI

    answer = MixedbreadAI(api_key=KEY, base_url=url).reranking(query=QUERY, input=DOCUMENTS, top_k=3, return_input=True)
    check([item.index for item in answer.data], [item.score for item in answer.data], 3)
    assert answer.data[0].input == DOCUMENTS[BEST]


def test_dashscope(url: str) -> None:
    """DashScope's TextReRank."""
    import dashscope

    dashscope.base_http_api_url = f"{url}/api/v1"
    answer = dashscope.TextReRank.call(model="gte-rerank-v2", query=QUERY, documents=DOCUMENTS, top_n=3, return_documents=True, api_key=KEY)
    assert answer.status_code == 200
    check([item.index for item in answer.output.results], [item.relevance_score for item in answer.output.results], 3)


def test_xinference(url: str) -> None:
    """Xinference's REST client, which looks the model up first."""
    import httpx
    from xinference_client import RESTfulClient

    served = httpx.get(f"{url}/v1/models").json()["data"][0]["id"]
    answer = RESTfulClient(url).get_model(served).rerank(DOCUMENTS, QUERY, return_documents=True)
    check([item["index"] for item in answer["results"]], [item["relevance_score"] for item in answer["results"]])
    assert answer["results"][0]["document"]["text"] == DOCUMENTS[BEST]


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("cohere", "/v1/rerank"),
        ("jina", "/v1/rerank"),
        ("voyage", "/v1/rerank"),
        ("mixedbread.ai", "/v1/reranking"),
        ("pinecone", "/rerank"),
        ("text-embeddings-inference", "/rerank"),
    ],
)
def test_rerankers(url: str, provider: str, path: str) -> None:
    """The rerankers library, through every API it knows."""
    from rerankers.models.api_rankers import APIRanker

    answer = APIRanker("m", KEY, provider, verbose=0, url=url + path).rank(QUERY, DOCUMENTS)
    check([item.document.doc_id for item in answer.results], [item.score for item in answer.results])

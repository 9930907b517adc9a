"""LiteLLM, through every provider whose base URL can be set."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.clients.corpus import DOCUMENTS, KEY, QUERY, check

pytestmark = pytest.mark.clients

# model, what follows the root in api_base, other arguments, whether scores lie within 0 and 1
PROVIDERS: list[tuple[str, str, dict[str, Any], bool]] = [
    ("cohere/rerank-v3.5", "", {}, True),
    ("cohere/rerank-v3.5", "/v1/rerank", {}, True),
    ("cohere/rerank-v3.5", "", {"top_n": 2, "return_documents": True, "max_tokens_per_doc": 512}, True),
    ("jina_ai/jina-reranker-v2-base-multilingual", "", {}, True),
    ("jina_ai/jina-reranker-v2-base-multilingual", "/v1", {"return_documents": True, "top_n": 2}, True),
    ("huggingface/BAAI/bge-reranker-base", "", {}, True),
    ("huggingface/BAAI/bge-reranker-base", "", {"return_documents": True, "top_n": 2}, True),
    ("infinity/mxbai-rerank", "", {}, True),
    ("infinity/mxbai-rerank", "", {"return_documents": True, "top_n": 2}, True),
    ("hosted_vllm/bge-reranker-v2-m3", "", {}, True),
    ("hosted_vllm/bge-reranker-v2-m3", "", {"return_documents": True, "top_n": 2}, True),
    ("nvidia_nim/nvidia/llama-3_2-nv-rerankqa-1b-v2", "", {}, False),
    ("nvidia_nim/ranking/nvidia/llama-3.2-nv-rerankqa-1b-v2", "", {"top_n": 2}, False),
    ("voyage/rerank-2.5", "/v1", {}, True),
    ("voyage/rerank-2.5", "/v1", {"return_documents": True, "top_n": 2}, True),
    ("deepinfra/Qwen/Qwen3-Reranker-0.6B", "/v1", {}, True),
]


def names(provider: tuple[str, str, dict[str, Any], bool]) -> str:
    """Name a case."""
    return f"{provider[0]} at {provider[1] or '/'} {provider[2] or ''}"


@pytest.mark.parametrize("provider", PROVIDERS, ids=names)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_provider(url: str, provider: tuple[str, str, dict[str, Any], bool], asynchronous: bool) -> None:
    """The documents come back ranked, as many as asked for."""
    import litellm

    model, base, extra, unit = provider
    arguments = {"model": model, "query": QUERY, "documents": DOCUMENTS, "api_base": url + base, "api_key": KEY, **extra}
    answer: Any = asyncio.run(litellm.arerank(**arguments)) if asynchronous else litellm.rerank(**arguments)
    found = [(item["index"], item["relevance_score"]) for item in answer.results]
    if model.startswith("deepinfra/"):
        found.sort(key=lambda item: -item[1])  # litellm leaves them in input order
    # TEI knows no number of results, and litellm leaves it at that.
    count = len(DOCUMENTS) if model.startswith("huggingface/") else extra.get("top_n", len(DOCUMENTS))
    check([index for index, _ in found][:count], [score for _, score in found][:count], count, unit)


@pytest.mark.parametrize("model", ["cohere/m", "jina_ai/m", "hosted_vllm/m", "infinity/m", "voyage/m"])
def test_bad_input(url: str, model: str) -> None:
    """Bad input is litellm's BadRequestError, whoever the provider."""
    import litellm

    base = f"{url}/v1" if model.startswith(("voyage", "jina")) else url
    with pytest.raises(litellm.BadRequestError):
        litellm.rerank(model=model, query=QUERY, documents=[], api_base=base, api_key=KEY)

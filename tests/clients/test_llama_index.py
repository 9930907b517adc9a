"""LlamaIndex's postprocessors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.corpus import DOCUMENTS, KEY, QUERY, check_texts

pytestmark = pytest.mark.clients


def postprocess(ranker: Any, count: int, unit: bool = True) -> None:
    """Run a postprocessor over the corpus and check what it keeps."""
    from llama_index.core.schema import NodeWithScore, TextNode

    found = ranker.postprocess_nodes([NodeWithScore(node=TextNode(text=text), score=0.1) for text in DOCUMENTS], query_str=QUERY)
    check_texts([item.node.get_content() for item in found], [item.score for item in found], count, unit)


def test_cohere(url: str) -> None:
    """CohereRerank."""
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    postprocess(CohereRerank(top_n=3, model="rerank-v3.5", api_key=KEY, base_url=url), 3)


def test_tei(url: str) -> None:
    """TextEmbeddingInference."""
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    postprocess(TextEmbeddingInference(top_n=3, base_url=url, auth_token=KEY), 3)


def test_nvidia(url: str) -> None:
    """NVIDIARerank, with the model that the server names."""
    import httpx
    from llama_index.postprocessor.nvidia_rerank import NVIDIARerank

    model = httpx.get(f"{url}/v1/models").json()["data"][0]["id"]
    postprocess(NVIDIARerank(model=model, base_url=f"{url}/v1", api_key=KEY, top_n=3), 3, unit=False)


def test_jina(url: str) -> None:
    """JinaRerank."""
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    postprocess(JinaRerank(top_n=3, base_url=f"{url}/v1", api_key=KEY), 3)


def test_siliconflow(url: str) -> None:
    """SiliconFlowRerank, which asks for chunks by default."""
    from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

    postprocess(SiliconFlowRerank(base_url=f"{url}/v1/rerank", api_key=KEY, top_n=3), 3)

"""Every path that a rerank client posts to, and the dialect that it suggests where the body does not decide."""

from __future__ import annotations

import re

import msgspec


class Route(msgspec.Struct, frozen=True):
    """A path in Litestar's notation (`{name:path}` takes the rest), the dialect of its errors before its body is read, and who calls it.

    `dialects`: those that can answer there, the suggested one first.
    """

    path: str
    dialects: tuple[str, ...]
    clients: str

    @property
    def dialect(self) -> str:
        """The dialect that the path suggests."""
        return self.dialects[0]

    @property
    def prefix(self) -> str:
        """The part before the first parameter."""
        return self.path.partition("{")[0]


_ANY = ("common", "plain", "voyage", "tei", "texts", "pair", "pairs", "passages", "librechat", "nim", "dashscope", "mixedbread", "pinecone")
_DOCUMENTS = ("common", "voyage", "tei", "librechat", "pinecone")

ROUTES: tuple[Route, ...] = (
    Route("/rerank", _ANY, "native, TEI, vLLM, Infinity, Pinecone, Open WebUI, Dify, RAGFlow, LocalAI"),
    Route("/v1/rerank", _DOCUMENTS, "Cohere v1, Jina, Voyage, vLLM, Together, SiliconFlow, Xinference, LibreChat"),
    Route("/v2/rerank", _DOCUMENTS, "Cohere v2, vLLM"),
    Route("/rerank/v1", _DOCUMENTS, "Cohere-like clients with the version last"),
    Route("/api/v1/rerank", ("common", "items", *_DOCUMENTS[1:]), "OpenRouter, Jina-like clients, documents with ids"),
    Route("/reranking", ("mixedbread", "texts", "common", "nim"), "Mixedbread, llama.cpp, RAGFlow's NVIDIA"),
    Route("/v1/reranking", ("mixedbread", "texts", "common", "nim"), "Mixedbread, llama.cpp"),
    Route("/reranks", ("common",), "DashScope, OpenAI-compatible"),
    Route("/v1/reranks", ("common",), "DashScope, OpenAI-compatible"),
    Route("/compatible-api/v1/reranks", ("common",), "DashScope, OpenAI-compatible"),
    Route("/compatible-mode/v1/reranks", ("common",), "DashScope, OpenAI-compatible"),
    Route("/api/v1/services/rerank/text-rerank/text-rerank", ("dashscope",), "DashScope, native"),
    Route("/v1/ranking", ("nim",), "NVIDIA NIM"),
    Route("/ranking", ("nim",), "NVIDIA NIM without a version"),
    Route("/v1/retrieval/{model:path}", ("nim",), "NVIDIA NIM, hosted"),
    Route("/rerank/batch", ("pairs",), "pairs in a batch"),
    Route("/rerank/query", ("passages",), "a query and passages"),
    Route("/score", ("vllm_score",), "vLLM"),
    Route("/v1/score", ("vllm_score",), "vLLM"),
    Route("/predict", ("tei_predict",), "TEI"),
    Route("/vertex", ("tei_vertex",), "TEI behind Vertex AI"),
    Route("/invocations", ("tei",), "TEI behind SageMaker"),
    Route("/", ("tei",), "TEI behind Inference Endpoints"),
    Route("/tokenize", ("tei_tokenize",), "TEI"),
    Route("/v1/inference/{model:path}", ("deepinfra",), "DeepInfra"),
    Route("/inference/{model:path}", ("deepinfra",), "DeepInfra"),
)
"""All of them are POST. The body decides among all dialects on every path but those that only one kind of client calls."""

_EXACT = {route.path: route.dialect for route in ROUTES if "{" not in route.path}
_PREFIXES = tuple((route.prefix, route.dialect) for route in ROUTES if "{" in route.path)


_SLASHES = re.compile("//+")


def normal(path: str) -> str:
    """A path as it stands in ROUTES. Litestar takes slashes that are doubled or at the end for none, so they change no dialect either."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def dialect_of(path: str) -> str:
    """The name of the dialect that a normal path alone suggests: what errors are worded in before the body is read."""
    for prefix, name in _PREFIXES:
        if path.startswith(prefix):
            return name
    return _EXACT.get(path, "common")

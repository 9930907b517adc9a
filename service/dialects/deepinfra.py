"""DeepInfra: `/v1/inference/<model>` with a query per document; scores come back in input order (litellm's deepinfra_rerank)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from batching.errors import InvalidRequest
from service.dialects.answers import complete, numbers
from service.dialects.body import Body
from service.dialects.fields import strings, text
from service.dialects.groups import Place, group
from service.dialects.nouns import Answer, Call, Decoded, Dialect
from service.schemas import RerankResult

_PREFIXES = ("/v1/inference/", "/inference/")


class InferenceStatus(msgspec.Struct):
    """How it went; nothing is billed."""

    status: str
    runtime_ms: int
    cost: float
    tokens_input: int


class DeepinfraAnswer(msgspec.Struct):
    """Scores in the order of the documents."""

    scores: list[float]
    input_tokens: int
    request_id: str
    inference_status: InferenceStatus


def decode(body: Body, call: Call) -> Decoded:
    """Read queries and documents, one to one or one query to all; raises InvalidRequest, TooLarge."""
    queries = [text(query, f"queries[{index}]") for index, query in enumerate(strings(body.queries, "queries", call.max_documents))]
    documents = strings(body.documents, "documents", call.max_documents)
    if len(queries) not in (1, len(documents)):
        raise InvalidRequest(f"queries: expected 1 or as many as documents ({len(documents)}), got {len(queries)}", "queries")
    if len(queries) == 1:
        queries *= len(documents)
    if body.model is None:
        prefix = next((prefix for prefix in _PREFIXES if call.path.startswith(prefix)), None)
        body.model = call.path.removeprefix(prefix) if prefix else None
    requests, places = group(body, list(zip(queries, documents, strict=True)), "documents[{}]")
    return Decoded(requests, partial(_encode, places=places))


def _encode(results: Sequence[RerankResult], *, places: list[Place]) -> Answer:
    complete(results)
    values = [numbers(result, False) for result in results]
    tokens = sum(result.pair_tokens for result in results)
    runtime_ms = round(max(result.timings.total_s for result in results) * 1000)
    scores = [values[request][index] for request, index in places]
    return Answer(DeepinfraAnswer(scores, tokens, results[0].id, InferenceStatus("succeeded", runtime_ms, 0.0, tokens)))


DIALECT = Dialect("deepinfra", decode, (DeepinfraAnswer,))

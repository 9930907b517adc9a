"""Calls as real client libraries made them (`captured.json`, recorded by `tests/clients/stub.py`), answered with what those libraries read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dialects.wire import Exchange, exchange

CALLS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("captured.json").read_text(encoding="utf-8"))


def read_results(found: Exchange, body: dict[str, Any]) -> list[tuple[int, float]]:
    """Cohere, Jina, vLLM, Infinity, Xinference, Together, SiliconFlow: an index and a relevance score, tokens, an object."""
    answer = found.answer
    assert answer["object"] == "rerank"
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    assert isinstance(answer["meta"]["billed_units"]["search_units"], int)
    hidden = found.call.path == "/rerank" and found.call.agent.startswith("litellm/")
    for item in answer["results"]:
        asked = body.get("return_documents") and not hidden
        assert isinstance(item["document"]["text"], str) if asked else "document" not in item
    return [(item["index"], item["relevance_score"]) for item in answer["results"]]


def read_voyage(found: Exchange, body: dict[str, Any]) -> list[tuple[int, float]]:
    """Voyage: data, with the document as a string where it was asked for."""
    assert found.answer["usage"]["total_tokens"] > 0
    for item in found.answer["data"]:
        assert ("document" in item) == bool(body.get("return_documents"))
        assert isinstance(item.get("document", ""), str)
    return [(item["index"], item["relevance_score"]) for item in found.answer["data"]]


def read_tei(found: Exchange, body: dict[str, Any]) -> list[tuple[int, float]]:
    """TEI: a bare list of every text."""
    assert isinstance(found.answer, list)
    assert len(found.answer) == len(body["texts"])
    assert all(("text" in item) == bool(body.get("return_text")) for item in found.answer)
    return [(item["index"], item["score"]) for item in found.answer]


def read_nim(found: Exchange, _: dict[str, Any]) -> list[tuple[int, float]]:
    """NIM: rankings with logits."""
    assert found.answer["usage"]["total_tokens"] > 0
    return [(item["index"], item["logit"]) for item in found.answer["rankings"]]


def read_pinecone(found: Exchange, body: dict[str, Any]) -> list[tuple[int, float]]:
    """Pinecone: model, units, and documents as they came."""
    assert isinstance(found.answer["model"], str)
    assert isinstance(found.answer["usage"]["rerank_units"], int)
    assert all(item["document"] == body["documents"][item["index"]] for item in found.answer["data"])
    return [(item["index"], item["score"]) for item in found.answer["data"]]


def read_mixedbread(found: Exchange, body: dict[str, Any]) -> list[tuple[int, float]]:
    """Mixedbread: data with scores, its own object names."""
    assert found.answer["object"] == "list"
    assert all(item["input"] == body["input"][item["index"]] for item in found.answer["data"])
    return [(item["index"], item["score"]) for item in found.answer["data"]]


def read_dashscope(found: Exchange, _: dict[str, Any]) -> list[tuple[int, float]]:
    """DashScope: results nested under output, a request id."""
    assert found.answer["request_id"]
    return [(item["index"], item["relevance_score"]) for item in found.answer["output"]["results"]]


def read_deepinfra(found: Exchange, _: dict[str, Any]) -> list[tuple[int, float]]:
    """DeepInfra: scores in input order."""
    return sorted(enumerate(found.answer["scores"]), key=lambda pair: -pair[1])


READERS: dict[str, Callable[[Exchange, dict[str, Any]], list[tuple[int, float]]]] = {
    "common": read_results,
    "voyage": read_voyage,
    "tei": read_tei,
    "nim": read_nim,
    "pinecone": read_pinecone,
    "mixedbread": read_mixedbread,
    "dashscope": read_dashscope,
    "deepinfra": read_deepinfra,
}


@pytest.mark.parametrize("call", CALLS, ids=[f"{call['client']} {call['path']} {sorted(call['body'])}" for call in CALLS])
def test_captured(call: dict[str, Any]) -> None:
    """A recorded call is taken for its dialect and answered best first, as many as asked for, in the keys that its client reads."""
    body = call["body"]
    found = exchange(call["path"], body, call["headers"])
    assert found.dialect == call["dialect"]
    ranked = READERS[found.dialect](found, body)
    request = found.requests[0]
    assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    assert len({index for index, _ in ranked}) == len(ranked) == min(request.top_n or len(request.documents), len(request.documents))


def test_voyage_without_a_mark() -> None:
    """LiteLLM's voyage sends what LiteLLM's jina sends: that answer must serve both."""
    bodies = [
        call for call in CALLS if call["path"] == "/v1/rerank" and call["client"].startswith("litellm/") and call["dialect"] == "common"
    ]
    assert bodies
    for call in bodies:
        found = exchange(call["path"], call["body"], call["headers"])
        assert read_voyage(found, call["body"]) == read_results(found, call["body"])

"""The starter model's real weights, from the command line to the ranking over HTTP through Granian."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.model_files import STARTER_PACKAGE
from tests.live import free_port
from tests.processes.http import Answer
from tests.processes.service import Service, ask

pytestmark = pytest.mark.skipif(importlib.util.find_spec(STARTER_PACKAGE) is None, reason="the starter model is not installed")

RANKINGS = {
    "How do I reset my password?": [
        'Click "forgot password" on the sign-in page to choose a new one.',
        "Your account settings hold your e-mail address and language.",
        "Bread needs flour, water and salt.",
    ],
    "What is the capital of France?": [
        "Paris has been the capital of France since the tenth century.",
        "Berlin is the capital and the largest city of Germany.",
        "A violin has four strings.",
    ],
    "symptoms of the flu": [
        "Influenza brings fever, a cough, aching muscles and tiredness.",
        "A vaccine against influenza is offered every autumn.",
        "The train to the airport leaves every ten minutes.",
    ],
    "how to make a Python list unique": [
        "Use set() to remove duplicate items from a list in Python.",
        "A tuple in Python can't be changed once it was made.",
        "The python is a large snake that lives in Africa and Asia.",
    ],
    "Wie wird das Wetter morgen?": ["Morgen wird das Wetter sonnig und warm.", "My cat sleeps all day."],
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--model", "starter", "--port", str(port), "--workers", "2", "--replicas", "2"]
    with Service(command=[*command, "--log-level", "warning", "--runtime-dir", "{base}"], port=port, workers=2) as service:
        yield service.address


def test_the_readmes_answer_is_the_services(address: str) -> None:
    """What the README's curl sends is answered as printed there: the order, and scores to a thousandth (processors round differently)."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    asked = re.search(r"curl -s http://127.0.0.1:8000/rerank .*? -d '(\{.*?\})'\n```", readme, re.S)
    printed = re.search(r"<!-- answer.*?```json\n(\{.*?\})\n```", readme, re.S)
    assert asked
    assert printed
    call = urllib.request.Request(f"{address}/rerank", asked[1].encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=60) as answered:
        found, told = json.load(answered), json.loads(printed[1])
    assert [one["index"] for one in found["results"]] == [one["index"] for one in told["results"]]
    for one, shown in zip(found["results"], told["results"], strict=True):
        assert one["relevance_score"] == pytest.approx(shown["relevance_score"], abs=1e-3)
    changing = {"id", "created", "results"}
    assert {name: part for name, part in found.items() if name not in changing} == {n: p for n, p in told.items() if n not in changing}


def test_int8_over_http() -> None:
    """DTYPE=int8 reaches the worker, and the rankings are float32's."""
    onednn = pytest.importorskip("batching.scoring.onednn")
    if onednn.available(int8=True) is not None:
        pytest.skip(onednn.available(int8=True))
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--model", "starter", "--port", str(port), "--dtype", "int8", "--replicas", "1"]
    with Service(command=[*command, "--log-level", "warning", "--runtime-dir", "{base}"], port=port) as service:
        for query, documents in RANKINGS.items():
            results = asyncio.run(rank(service.address, query, documents)).json["results"]
            assert [documents[one["index"]] for one in results] == documents
        info = asyncio.run(ask(service.address, path="/info")).json
        assert info["model_dtype"] == "int8"


async def rank(address: str, query: str, documents: list[str], **more: object) -> Answer:
    return await ask(address, body=json.dumps({"query": query, "documents": documents, **more}).encode())


def scores(answer: Answer) -> dict[int, float]:
    return {one["index"]: one["relevance_score"] for one in answer.json["results"]}


@pytest.mark.parametrize("query", RANKINGS)
@pytest.mark.parametrize("turn", [0, 1])
def test_a_sensible_ranking(address: str, query: str, turn: int) -> None:
    """Documents come back in the order of their meaning, in whatever order they were given."""
    documents = RANKINGS[query][::-1] if turn else RANKINGS[query]
    results = asyncio.run(rank(address, query, documents)).json["results"]
    assert [documents[one["index"]] for one in results] == RANKINGS[query]
    assert [one["relevance_score"] for one in results] == sorted((one["relevance_score"] for one in results), reverse=True)
    assert all(-1.0 <= one["relevance_score"] <= 1.0 for one in results)


def test_company_changes_no_score(address: str) -> None:
    """Asked alone, or among many others at once, a document's score is the same to the fifth digit."""

    async def main() -> None:
        alone = [scores(await rank(address, query, documents)) for query, documents in RANKINGS.items()]
        crowd = await asyncio.gather(*(rank(address, query, documents) for _ in range(20) for query, documents in RANKINGS.items()))
        for number, answer in enumerate(crowd):
            assert scores(answer) == pytest.approx(alone[number % len(alone)], abs=1e-5)

    asyncio.run(main())


def test_usage_counts_real_tokens_and_cuts_are_told(address: str) -> None:
    """A document over the limit is marked as truncated, the others are not; tokens are those that were scored."""
    answer = asyncio.run(rank(address, "bread", ["Bread needs flour.", "flour " * 2000]))
    truncated = {one["index"]: one.get("truncated", False) for one in answer.json["results"]}
    assert truncated == {0: False, 1: True}
    assert 200 < answer.json["usage"]["total_tokens"] < 1100


def test_top_n(address: str) -> None:
    """The best so many, and no more."""
    query, documents = next(iter(RANKINGS.items()))
    assert [one["index"] for one in asyncio.run(rank(address, query, documents, top_n=2)).json["results"]] == [0, 1]

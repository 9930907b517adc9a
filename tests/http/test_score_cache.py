"""The score cache: the same answers as without it, nothing scored twice, and nothing found that was not asked for just so."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from batching.families.detect import detect
from batching.families.encode import Encoder
from service import ranking
from service.app import create_app
from service.model_files import starter
from service.models import Model, open_served
from service.schemas import RerankRequest
from service.score_cache import ENTRY_BYTES
from service.settings import Settings
from tests.http.conftest import Client, Start
from tests.http.fakes import FAMILY, FakeModel
from tests.http.fakes import settings as settings_of

CALL: dict[str, Any] = {"query": "one two", "documents": ["a", "bb cc", "ddd"], "model": "m"}


def _scored(model: FakeModel) -> int:
    """Pairs that reached the queue since last asked."""
    count = sum(one.scores for one in model.client.scored)
    model.client.scored.clear()
    return count


def _results(client: Client, **changes: Any) -> list[tuple[int, float]]:
    answer = client.post("/v1/rerank", json={**CALL, **changes})
    assert answer.status_code == 200, answer.text
    return [(one["index"], one["relevance_score"]) for one in answer.json()["results"]]


def test_what_was_scored_is_not_scored_again(start: Start, model: FakeModel) -> None:
    """The same call, some of its documents, and new ones among old: only the new are scored, and the answers are the same."""
    client = start(score_cache_bytes="1M")
    first = _results(client)
    assert _scored(model) == 3
    assert _results(client) == first
    assert _scored(model) == 0
    more = _results(client, documents=["ddd", "new one", "a", "a"])
    assert _scored(model) == 1
    model.client.scored.clear()
    assert more == _results(start(), documents=["ddd", "new one", "a", "a"])
    page = client.get("/metrics").text
    assert 'rerankd_score_cache_hits_total{model="org/fake-model"} 5.0' in page
    assert 'rerankd_score_cache_misses_total{model="org/fake-model"} 4.0' in page
    assert 'rerankd_pairs_total{model="org/fake-model"} 10.0' in page


def test_tokens_are_told_and_charged_once(start: Start, model: FakeModel) -> None:
    """A recalled pair's tokens stand in the answer, and count against no rate."""
    client = start(score_cache_bytes="1M", rate_limit_tokens="1")
    counted = client.post("/v1/rerank", json=CALL).json()["usage"]
    again = client.post("/v1/rerank", json=CALL)
    assert again.status_code == 429 or again.json()["usage"] == counted


@pytest.mark.parametrize(
    "change",
    [
        {"query": "other"}, {"max_length": 60}, {"truncate": False}, {"max_tokens_per_doc": 2}, {"instruction": "find"},
        {"truncation_side": "left"},
    ],
    ids=str,
)  # fmt: skip
def test_every_condition_is_part_of_the_key(start: Start, model: FakeModel, change: dict[str, Any]) -> None:
    """Another query, length, end, cut or instruction finds nothing, and is kept for itself."""
    client = start(score_cache_bytes="1M")
    _results(client)
    _scored(model)
    _results(client, **change)
    assert _scored(model) == 3
    _results(client, **change)
    assert _scored(model) == 0


def test_models_do_not_share(start: Start, model: FakeModel) -> None:
    """Each served model has its own."""
    other = FakeModel("org/other")
    client = start(other, score_cache_bytes="1M")
    _results(client)
    _results(client, model="org/other")
    assert (_scored(model), _scored(other)) == (3, 3)


@pytest.mark.parametrize("per_key", [True, False])
def test_keys_share_only_if_let(start: Start, model: FakeModel, per_key: bool) -> None:
    """With SCORE_CACHE_PER_KEY a key's scores are its own."""
    client = start(score_cache_bytes="1M", api_key="one,two", score_cache_per_key=str(per_key))
    for key, scored in (("one", 3), ("one", 0), ("two", 3 if per_key else 0)):
        assert client.post("/v1/rerank", json=CALL, headers={"Authorization": key}).status_code == 200
        assert _scored(model) == scored, key


def test_what_is_not_kept(start: Start, model: FakeModel) -> None:
    """Chunked documents, listwise models and scores that are no numbers are scored again."""
    client = start(score_cache_bytes="1M")
    for _ in range(2):
        _results(client, long_documents="chunk")
        assert _scored(model) == 3
    model.client.nan_at = (1,)
    client.post("/v1/rerank", json=CALL)
    model.client.nan_at = ()
    _scored(model)
    assert len(_results(client)) == 3
    assert _scored(model) == 1
    listwise = FakeModel("org/list", family=msgspec.structs.replace(FAMILY, unit="list"))
    lists = start(listwise, score_cache_bytes="1M")
    for _ in range(2):
        _results(lists, model="org/list")
        assert _scored(listwise) == 3


def test_it_is_off_unless_set(start: Start, model: FakeModel) -> None:
    """By default nothing is kept."""
    client = start()
    for _ in range(2):
        _results(client)
        assert _scored(model) == 3


def test_the_bound_holds(start: Start, model: FakeModel) -> None:
    """More documents than fit push the oldest out."""
    client = start(score_cache_bytes=str(ENTRY_BYTES * 200))
    for number in range(30):
        _results(client, documents=[f"document {number} {place}" for place in range(20)])
    (cache,) = client.app.state.rerankd.reranker._caches.values()
    assert 0 < cache.used_bytes <= ENTRY_BYTES * 200


def test_a_real_encoder_takes_a_call_without_documents() -> None:
    """Where all is known, nothing is left to tokenize, and that is no error."""
    card = detect(starter(), "starter")
    encoder = Encoder(card)
    whole = ranking.plan(RerankRequest(query="q", documents=["a", "b"]), Model(card, encoder, 128), Settings())
    assert ranking.prepare(whole.only(np.array([], np.intp))).encoded.sequences.scores == 0
    assert ranking.prepare(whole.only(np.array([1], np.intp))).encoded.sequences.scores == 1


WORDS = st.lists(st.text("abc ", max_size=6), min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["q", "r s"]), WORDS, st.sampled_from([None, 1, 2])), max_size=6))
def test_answers_are_those_without_it(calls: list[tuple[str, list[str], int | None]]) -> None:
    """Whatever came before, an answer is byte for byte that of a service without a cache, but for ids and times."""
    with (
        TestClient(create_app(settings_of(score_cache_bytes="1M"), [FakeModel().served], 0)) as cached,
        TestClient(create_app(settings_of(), [FakeModel().served], 0)) as plain,
    ):
        for query, documents, most in calls:
            body = {**CALL, "query": query, "documents": documents, "max_tokens_per_doc": most}
            one, other = (client.post("/v1/rerank", json=body).json() for client in (cached, plain))
            assert {**one, "id": "", "created": 0} == {**other, "id": "", "created": 0}


def test_the_token_caches_finds_are_told() -> None:
    """Documents seen before are counted as hits, new ones as misses; the other cache, which is off, counts nothing."""
    fake = FakeModel("starter")

    async def client() -> Any:
        return fake.client

    served = open_served(detect(starter(), "starter"), Settings(), 1, client)
    with TestClient(create_app(settings_of(), [served], 0)) as asked:
        for documents in (["a", "b", "c"], ["c", "d"]):
            assert asked.post("/v1/rerank", json={**CALL, "documents": documents}).status_code == 200
        page = asked.get("/metrics").text
    told = dict(line.rsplit(" ", 1) for line in page.splitlines() if "_cache_" in line and not line.startswith("#"))
    assert told == {
        'rerankd_token_cache_hits_total{model="starter"}': "1.0",
        'rerankd_token_cache_misses_total{model="starter"}': "4.0",
        'rerankd_score_cache_hits_total{model="starter"}': "0.0",
        'rerankd_score_cache_misses_total{model="starter"}': "0.0",
    }

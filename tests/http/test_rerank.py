"""What `POST /rerank` does with a good call, whichever dialect words it."""

from __future__ import annotations

import math

import msgspec
import pytest

from batching.families.detect import detect
from batching.families.encode import Encoder
from service.model_files import starter
from service.models import Model
from service.tokenizing import read_tokens
from tests.http.conftest import Client, Start
from tests.http.fakes import FakeModel

ASKED = {"query": "a b", "documents": ["x yyyy", "zzzzz", "x yyyy", "q"], "model": "some-hosted-name"}


def test_documents_come_back_best_first_with_real_token_counts(client: Client, model: FakeModel) -> None:
    """Order by raw score, ties by index, tokens of every pair counted."""
    answer = client.post("/rerank", json=ASKED)
    body = answer.json()
    assert answer.status_code == 200
    assert [one["index"] for one in body["results"]] == [1, 0, 2, 3]
    assert body["model"] == model.card.name
    assert body["usage"] == {"prompt_tokens": 18, "total_tokens": 18, "completion_tokens": 0}
    raw = (1 + 1 + 0 + 5) / 4
    assert body["results"][0]["relevance_score"] == pytest.approx(1 / (1 + math.exp(-raw)))


def test_a_repeated_document_is_scored_once(client: Client, model: FakeModel) -> None:
    """Duplicates share one pair and get equal scores."""
    body = client.post("/rerank", json=ASKED).json()
    assert model.encoder.calls[0]["documents"] == ["x yyyy", "zzzzz", "q"]
    by_index = {one["index"]: one["relevance_score"] for one in body["results"]}
    assert by_index[0] == by_index[2]
    assert 'rerankd_repeated_documents_total{model="org/fake-model"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(("top_n", "count"), [(2, 2), (0, 4), (None, 4), (9, 4)])
def test_top_n_cuts_and_nothing_means_all(client: Client, top_n: int | None, count: int) -> None:
    """0 and null are all, more than there are is all."""
    assert len(client.post("/rerank", json={**ASKED, "top_n": top_n}).json()["results"]) == count


def test_every_answer_carries_id_and_timings(client: Client) -> None:
    """A caller's id comes back, a missing or unfit one is made, and times are told, on errors too."""
    answer = client.post("/rerank", json=ASKED, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1" == answer.json()["id"]
    timing = answer.headers["server-timing"]
    assert [part.split(";")[0].strip() for part in timing.split(",")] == ["tokenize", "queue", "forward", "total"]
    for headers in ({}, {"X-Request-Id": "x" * 129}, {"X-Request-Id": "tab\there"}):
        made = client.post("/rerank", json={}, headers=headers)
        assert made.status_code == 400
        assert len(made.headers["x-request-id"]) == 32
        assert made.headers["server-timing"].startswith("total;dur=")


def test_a_cut_document_is_reported(client: Client) -> None:
    """What was cut to fit says so, and only that."""
    body = client.post("/rerank", json={"query": "a", "documents": ["w " * 200, "w"], "model": "m"}).json()
    assert {one["index"]: one.get("truncated", False) for one in body["results"]} == {0: True, 1: False}


def test_nan_fails_its_document_only(client: Client, model: FakeModel, caplog: pytest.LogCaptureFixture) -> None:
    """A score that is no number is reported with its index; the rest are ranked; it is counted, and logged under the request's id."""
    model.client.nan_at = (1,)
    body = client.post("/rerank", json={"query": "a b", "documents": ["a", "bb", "ccc"], "model": "m"}).json()
    assert [one["index"] for one in body["results"]] == [2, 0]
    assert [one["index"] for one in body["errors"]] == [1]
    assert 'rerankd_failed_documents_total{model="org/fake-model"} 1.0' in client.get("/metrics").text
    [told] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert told.getMessage() == "scores that are not finite numbers"
    assert (told.__dict__["request_id"], told.__dict__["documents"]) == (body["id"], 1)


def test_an_unknown_model_is_served_by_the_default_unless_strict(start: Start) -> None:
    """Clients send hosted names; STRICT_MODELS refuses them; names are found in any case and without their owner."""
    other = FakeModel("org/Other-Model")
    client = start(other)
    for name, answered in ((None, "org/fake-model"), ("rerank-v3.5", "org/fake-model"), ("OTHER-model", "org/Other-Model")):
        assert client.post("/rerank", json={**ASKED, "model": name, "return_documents": False}).json()["model"] == answered
    strict = start(other, strict_models="true")
    refused = strict.post("/rerank", json=ASKED)
    assert refused.status_code == 404
    assert "RERANKER_STRICT_MODELS" in refused.json()["detail"]
    assert strict.post("/rerank", json={**ASKED, "model": "org/other-model"}).status_code == 200


def test_several_queries_are_admitted_as_one(client: Client, model: FakeModel) -> None:
    """A call with several queries is answered in order, each query tokenized once."""
    pairs = [{"query": query, "passage": passage} for query, passage in (("a", "xx"), ("b c", "yyy"), ("a", "zzzz"))]
    body = client.post("/rerank/batch", json={"pairs": pairs}).json()
    assert body["scores"] == pytest.approx([3 / 3, 5 / 4, 5 / 3])
    assert [call["query"] for call in model.encoder.calls] == ["a", "b c"]
    assert model.client.reserved == 0


def test_messagepack_in_and_out(client: Client) -> None:
    """The same call and answer in MessagePack."""
    packed = "application/msgpack"
    answer = client.post("/rerank", content=msgspec.msgpack.encode(ASKED), headers={"Content-Type": packed, "Accept": packed})
    assert answer.headers["content-type"] == packed
    assert [one["index"] for one in msgspec.msgpack.decode(answer.content)["results"]] == [1, 0, 2, 3]


def test_gzip_only_when_asked_and_worth_it(client: Client) -> None:
    """A large answer is compressed for those who ask, and for nobody else; a small one never."""
    large = {"query": "a", "documents": ["word " * 20] * 200, "model": "m", "return_documents": True}
    for asked, got in (
        ("gzip", "gzip"), ("identity", None), ("gzip;q=0", None), ("*;q=0.1", "gzip"), ("", None),
        ("gzip, br", "br"), ("br;q=0, gzip", "gzip"), ("br", "br"),
    ):  # fmt: skip
        answer = client.post("/rerank", json=large, headers={"Accept-Encoding": asked})
        assert answer.headers.get("content-encoding") == got
        assert len(answer.json()["results"]) == 200
    small = client.post("/rerank", json=ASKED, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in small.headers


def test_long_documents_in_windows(client: Client, model: FakeModel) -> None:
    """With chunks every word of a long document is seen, the best window counts and its place is told."""
    words = ["a"] * 120 + ["nnnnnnnn"] * 5 + ["a"] * 60
    asked = {
        "query": "q",
        "documents": [" ".join(words), "short"],
        "model": "m",
        "long_documents": "chunk",
        "return_windows": True,
        "max_length": 34,
    }
    body = client.post("/rerank", json=asked).json()
    by_index = {one["index"]: one for one in body["results"]}
    window = by_index[0]["window"]
    assert "nnnnnnnn" in asked["documents"][0][window["start"] : window["end"]]
    assert window["count"] > 5
    assert "truncated" not in by_index[0]
    assert "window" not in by_index[1]
    assert client.post("/rerank", json={**asked, "max_length": 1}).status_code == 400
    limited = client.post("/rerank", json={**asked, "max_chunks": 2}).json()
    assert next(one for one in limited["results"] if one["index"] == 0)["truncated"] is True


def test_tokenize_tells_the_tokenizers_reading(client: Client) -> None:
    """TEI's /tokenize: ids, texts and places; special tokens by name and without a place."""
    body = client.post("/tokenize", json={"inputs": ["ab c"]}).json()
    assert [(token["text"], token["special"], token["start"]) for token in body[0]] == [
        ("<s>", True, None),
        ("ab", False, 0),
        ("c", False, 3),
    ]


def test_tokens_are_parts_of_the_text() -> None:
    """As TEI has them: what the caller wrote and not the vocabulary's pieces, at bytes of UTF-8 and not characters."""
    card = detect(starter(), "starter")
    text = "Zoë's CAFÉ in 東京 ☕😀 unaffordable"
    for specials in (True, False):
        (tokens,) = read_tokens(Model(card, Encoder(card), card.max_length), [text], specials)
        own = [token for token in tokens if not token.special]
        assert "".join(token.text for token in own) == text.replace(" ", "")
        for token in own:
            assert text.encode()[token.start : token.stop].decode() == token.text
        assert [token.text for token in tokens if token.special] == (["[CLS]", "[SEP]"] if specials else [])


def test_tokens_of_nothing(client: Client) -> None:
    """TEI tells an empty list from any other mistake."""
    answer = client.post("/tokenize", json={"inputs": []})
    assert (answer.status_code, answer.json()) == (400, {"error": "`inputs` cannot be empty", "error_type": "Empty"})


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/api/v1/rerank", "/rerank/", "/", "/v1/inference/some/model"])
def test_every_path_leads_to_the_handler(client: Client, path: str) -> None:
    """A path is no reason to fail."""
    body = {"queries": ["a"], "documents": ["b"]} if "inference" in path else {"query": "a", "documents": ["b"]}
    assert client.post(path, json=body).status_code == 200

"""The exact shape of every dialect's answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batching.errors import ScoringFailed
from service.dialects import table
from service.schemas import RerankRequest, Window
from tests.unit.dialects.wire import MODEL, exchange, rank, raw_score, sigmoid

Q = "query"
D = ["mid size", "the longest document of all", "tiny"]
RAW = [raw_score(Q, text) for text in D]
S = [sigmoid(raw) for raw in RAW]
ORDER = [1, 0, 2]
USAGE = {"prompt_tokens": 21, "total_tokens": 21, "completion_tokens": 0}
META = {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}, "tokens": {"input_tokens": 21, "output_tokens": 0}}
TOP = {"id": "id-1", "object": "rerank", "created": 1_700_000_000, "model": MODEL, "usage": USAGE}
near = pytest.approx


def ranked(**documents: Any) -> list[dict[str, Any]]:
    return [{"index": i, "relevance_score": near(S[i]), **({"document": documents["back"][i]} if documents else {})} for i in ORDER]


def test_plain() -> None:
    """Results hold the document as a string and a score of six decimals; scores are raw and in input order; both seeds' keys at once."""
    answer = exchange("/rerank", {"query": Q, "documents": D, "top_n": 2}).answer
    assert answer == {
        **TOP,
        "results": [{"index": i, "relevance_score": round(S[i], 6), "document": D[i]} for i in ORDER[:2]],
        "meta": META,
        "scores": near(RAW),
        "ranked_indices": ORDER[:2],
    }
    assert exchange("/rerank", {"query": Q, "documents": D, "raw_scores": True}).answer["results"][0]["relevance_score"] == near(RAW[1])


def test_common_has_no_document_unless_asked() -> None:
    """`document` is absent, never null, unless it was asked for; then it is an object."""
    asked = {"query": Q, "documents": D, "model": "m"}
    for extra in ({}, {"return_documents": None}, {"return_documents": False}, {"return_documents": "false"}):
        assert exchange("/rerank", {**asked, **extra}).answer == {**TOP, "results": ranked(), "meta": META}
    for true in (True, "true", "True"):
        answer = exchange("/rerank", {**asked, "return_documents": true}).answer
        assert answer == {**TOP, "results": ranked(back=[{"text": text} for text in D]), "meta": META}


def test_common_on_the_paths_of_voyage() -> None:
    """`data` stands beside `results` where Voyage's clients come without a mark, its documents strings."""
    answer = exchange("/v1/rerank", {"query": Q, "documents": D, "model": "m", "return_documents": True}).answer
    assert answer["data"] == ranked(back=D)
    assert answer["results"] == ranked(back=[{"text": text} for text in D])
    assert "data" not in exchange("/v2/rerank", {"query": Q, "documents": D}).answer


def test_common_hides_documents_from_litellm() -> None:
    """On /rerank litellm's two providers want documents of two kinds and say so nowhere: they get none, on no other path."""
    body = {"query": Q, "documents": D, "model": "m", "return_documents": True}
    agent = {"user-agent": "litellm/1.80.0"}
    assert exchange("/rerank", body, agent).answer["results"] == ranked()
    assert exchange("/v1/rerank", body, agent).answer["results"] == ranked(back=[{"text": text} for text in D])


def test_common_versions_and_units() -> None:
    """`meta` tells Cohere's version by the path and a unit per hundred documents."""
    many = exchange("/v2/rerank", {"query": Q, "documents": ["x"] * 101}).answer["meta"]
    assert many["api_version"] == {"version": "2"}
    assert many["billed_units"] == {"search_units": 2}


@pytest.mark.parametrize("switch", [{"raw_scores": True}, {"use_activation": False}, {"activation": False}, {"softmax": False}])
def test_common_raw(switch: dict[str, bool]) -> None:
    """Raw scores are given where a client asks for them under its own name, in the same order."""
    answer = exchange("/v1/rerank", {"query": Q, "documents": D, "model": "m", **switch}).answer
    assert [item["relevance_score"] for item in answer["results"]] == near([RAW[i] for i in ORDER])


def test_common_echoes_objects_as_they_came() -> None:
    """An object comes back whole, with the text it was ranked by where it had none of its own."""
    given = [{"text": "mid size", "id": 4}, {"title": "A", "body": "B"}]
    body = {"query": Q, "documents": given, "rank_fields": ["title", "body", "text"], "return_documents": True}
    answer = exchange("/v1/rerank", body).answer
    by_index = {item["index"]: item for item in answer["results"]}
    assert by_index[0]["document"] == given[0]
    assert by_index[1]["document"] == {**given[1], "text": "title: A\nbody: B"}
    assert "data" not in answer  # which is for Voyage's clients, and they have strings only


def test_common_on_open_routers_path() -> None:
    """On /api/v1/rerank documents come back unless told otherwise."""
    assert exchange("/api/v1/rerank", {"query": Q, "documents": D, "model": "m"}).answer["results"] == ranked(
        back=[{"text": text} for text in D]
    )
    answer = exchange("/api/v1/rerank", {"query": Q, "documents": D, "model": "m", "return_documents": False}).answer
    assert answer["results"] == answer["data"] == ranked()


def test_truncated_results_say_so() -> None:
    """A result whose document was cut has "truncated": true; others have no such key."""
    for path, body, key in (
        ("/rerank", {"query": Q, "documents": D}, "results"),
        ("/v1/ranking", {"query": {"text": Q}, "passages": [{"text": text} for text in D]}, "rankings"),
        ("/v1/reranking", {"query": Q, "input": D}, "data"),
        ("/reranking", {"query": Q, "texts": D}, "results"),
    ):
        items = exchange(path, body, truncated=(0, 2)).answer[key]
        assert [item.get("truncated") for item in items] == [None, True, True], path


def test_windows() -> None:
    """With return_windows a chunked document says which window counted; others, and answers that did not ask, say nothing."""
    body = {"query": Q, "documents": D, "long_documents": "chunk"}
    for path, asked, expected in (
        ("/rerank", True, {"start": 3, "end": 9, "index": 1, "count": 4}),
        ("/v1/rerank", True, {"start": 3, "end": 9, "index": 1, "count": 4}),
        ("/v1/rerank", None, None),
    ):
        call = table.call(path, {})
        decoded = table.read(msgspec.json.encode({**body, "return_windows": asked}), call)
        windows = [None, Window(start=3, end=9, index=1, count=4), None]
        result = msgspec.structs.replace(rank(decoded.requests[0]), windows=windows)
        answer = msgspec.json.decode(table.write(decoded, [result], call)[0])
        assert [item.get("window") for item in answer["results"]] == [expected, None, None]


def test_failed_documents() -> None:
    """A document without a score is left out of the ranking and named in `errors`; the plain answer has null in its place."""
    answer = exchange("/rerank", {"query": Q, "documents": D}, failed={1: "score is NaN"}).answer
    assert [item["index"] for item in answer["results"]] == [0, 2]
    assert answer["scores"] == [near(RAW[0]), None, near(RAW[2])]
    assert answer["errors"] == [{"index": 1, "message": "score is NaN"}]
    items = [{"id": "a", "text": ""}, {"id": "b", "text": "x"}, {"id": "c", "text": "xx"}]
    assert exchange("/api/v1/rerank", {"query": Q, "documents": items}, failed={0: "score is NaN"}).answer["errors"] == [
        {"index": 1, "message": "score is NaN"}
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rerank", {"query": Q, "texts": D}),
        ("/rerank", {"query": Q, "passage": "p"}),
        ("/score", {"text_1": Q, "text_2": D}),
        ("/v1/inference/m", {"queries": [Q], "documents": D}),
        ("/rerank/query", {"query": Q, "passages": D}),
    ],
)
def test_failed_documents_without_a_place(path: str, body: dict[str, Any]) -> None:
    """An answer that has no place to say which document failed is an error instead."""
    with pytest.raises(ScoringFailed, match="document 0 could not be scored: score is NaN"):
        exchange(path, body, failed={0: "score is NaN"})


@pytest.mark.parametrize("body", [{"query": Q, "documents": D}, {"query": Q, "documents": D, "top_k": 1}, {"query": Q, "input": D}])
def test_nothing_scored(body: dict[str, Any]) -> None:
    """A call none of whose documents could be scored is an error."""
    with pytest.raises(ScoringFailed, match="no document"):
        exchange("/v1/rerank", body, failed=dict.fromkeys(range(3), "score is NaN"))


def test_voyage() -> None:
    """`data` best first, cut at top_k, documents as strings where asked for; `results` for others who say the same; its own `object`, on
    its own path only."""
    body = {"query": Q, "documents": D, "model": "m", "top_k": 2, "truncation": True}
    assert exchange("/v1/rerank", body).answer == {
        "object": "list",
        "data": ranked()[:2],
        "results": ranked()[:2],
        "model": MODEL,
        "usage": USAGE,
    }
    echoed = exchange("/v1/rerank", {**body, "return_documents": True, "top_k": None}).answer
    assert echoed["data"] == ranked(back=D)
    assert echoed["results"] == ranked(back=[{"text": text} for text in D])
    objects = exchange("/v1/rerank", {**body, "documents": [{"text": text} for text in D], "return_documents": True, "top_k": None}).answer
    assert (objects["data"], objects["results"]) == (echoed["data"], echoed["results"])
    elsewhere = exchange("/rerank", body).answer
    assert elsewhere == {**TOP, "results": ranked()[:2], "data": ranked()[:2], "meta": META}


def test_tei() -> None:
    """A bare list of all texts, whatever top_n says; raw scores and texts where asked for; times in milliseconds in the headers."""
    found = exchange("/rerank", {"query": Q, "texts": D, "top_n": 1, "model": "m"})
    assert found.answer == [{"index": i, "score": near(S[i])} for i in ORDER]
    assert found.headers == {
        "x-compute-type": "gpu+optimized",
        "x-compute-time": "40",
        "x-compute-characters": str(3 * len(Q) + sum(map(len, D))),
        "x-compute-tokens": "21",
        "x-total-time": "40",
        "x-tokenization-time": "2",
        "x-queue-time": "1",
        "x-inference-time": "30",
    }
    answer = exchange("/", {"query": Q, "texts": D, "raw_scores": True, "return_text": True, "truncate": None}).answer
    assert answer == [{"index": i, "score": near(RAW[i]), "text": D[i]} for i in ORDER]


def test_tei_predict() -> None:
    """A list of labelled scores per pair, in input order, or one such list for one pair; one request per distinct query."""
    found = exchange("/predict", {"inputs": [[Q, D[0]], ["other", D[1]], [Q, D[2]]], "raw_scores": True})
    assert found.answer == [[{"score": near(raw), "label": "LABEL_0"}] for raw in (RAW[0], raw_score("other", D[1]), RAW[2])]
    assert [(request.query, request.documents) for request in found.requests] == [(Q, [D[0], D[2]]), ("other", [D[1]])]
    assert exchange("/predict", {"inputs": [Q, D[0]]}).answer == [{"score": near(S[0]), "label": "LABEL_0"}]


def test_tei_vertex() -> None:
    """Each instance is a call of its own; the answers stand in `predictions`."""
    answer = exchange("/vertex", {"instances": [{"query": Q, "texts": D}, {"query": Q, "texts": D[:1], "return_text": True}]}).answer
    assert answer == {
        "predictions": [[{"index": i, "score": near(S[i])} for i in ORDER], [{"index": 0, "score": near(S[0]), "text": D[0]}]]
    }


def test_texts() -> None:
    """An object, unlike TEI; texts come back unless told otherwise, and then are null."""
    asked = {"query": Q, "texts": D, "top_k": 2}
    results = [{"index": i, "score": near(S[i]), "text": D[i]} for i in ORDER[:2]]
    assert exchange("/v1/reranking", asked).answer == {"model": MODEL, "usage": USAGE, "results": results}
    assert exchange("/rerank", {**asked, "return_texts": False}).answer["results"] == [{**item, "text": None} for item in results]


def test_pair_and_pairs_and_passages() -> None:
    """Scores are raw unless normalize is true; pairs answer in input order, passages best first."""
    pair = {"query": Q, "passage": D[0]}
    assert exchange("/rerank", pair).answer == {"score": near(RAW[0]), "normalized": False, "query_length": 5, "passage_length": 8}
    assert exchange("/rerank", {**pair, "normalize": True}).answer["score"] == near(S[0])
    pairs = {"pairs": [pair, {"query": "other", "passage": D[1]}], "normalize": True}
    assert exchange("/rerank/batch", pairs).answer == {
        "scores": near([S[0], sigmoid(raw_score("other", D[1]))]),
        "normalized": True,
        "pairs_count": 2,
    }
    passages = exchange("/rerank/query", {"query": Q, "passages": D}).answer
    assert passages == {"re_ranked": [{"passage": D[i], "score": near(RAW[i])} for i in ORDER]}


def test_items() -> None:
    """Ids come back as they were with the raw score, blank documents do not, and indices are those of the documents as sent."""
    given = [{"id": "x", "text": D[0]}, {"id": 7, "text": "  "}, {"id": "y", "text": D[1]}]
    answer = exchange("/api/v1/rerank", {"query": Q, "documents": given}).answer
    assert answer["data"] == [{"id": "y", "similarity": near(RAW[1])}, {"id": "x", "similarity": near(RAW[0])}]
    assert answer["results"] == [
        {"index": 2, "relevance_score": near(S[1]), "document": given[2]},
        {"index": 0, "relevance_score": near(S[0]), "document": given[0]},
    ]
    assert (answer["model"], answer["usage"]["total_tokens"], answer["object"]) == (MODEL, 14, "rerank")
    for nothing in ([], [{"id": 1, "text": ""}]):
        found = exchange("/api/v1/rerank", {"query": Q, "documents": nothing})
        assert (found.requests, found.answer) == ((), {"data": [], "results": []})


def test_nim() -> None:
    """Logits, best first."""
    body = {"model": "m", "query": {"text": Q}, "passages": [{"text": text} for text in D], "top_n": 2}
    assert exchange("/v1/ranking", body).answer == {
        "rankings": [{"index": i, "logit": near(RAW[i])} for i in ORDER[:2]],
        "usage": USAGE,
        "model": MODEL,
    }


def test_mixedbread() -> None:
    """Ten results unless top_k says otherwise; the input comes back where asked for; no `object`, which its two SDKs name differently."""
    answer = exchange("/v1/reranking", {"query": Q, "input": D, "return_input": True, "top_k": 2}).answer
    data = [{"index": i, "score": near(S[i]), "input": D[i]} for i in ORDER[:2]]
    assert answer == {"usage": USAGE, "model": MODEL, "data": data, "object": "list", "top_k": 2, "return_input": True}
    assert len(exchange("/v1/reranking", {"query": Q, "input": ["x"] * 12}).answer["data"]) == 10


def test_pinecone() -> None:
    """Documents come back unless told otherwise, as they came; rerank units are counted."""
    given = [{"id": str(i), "text": text} for i, text in enumerate(D)]
    body = {"model": "m", "query": Q, "documents": given, "rank_fields": ["text"], "top_n": 2}
    header = {"x-pinecone-api-version": "2026-07"}
    data = [{"index": i, "score": near(S[i]), "document": given[i]} for i in ORDER[:2]]
    assert exchange("/rerank", body, header).answer == {"model": MODEL, "data": data, "usage": {"rerank_units": 1}}
    assert "document" not in exchange("/rerank", {**body, "return_documents": False}, header).answer["data"][0]


def test_dashscope() -> None:
    """The native form nests the results and carries a request id."""
    path = "/api/v1/services/rerank/text-rerank/text-rerank"
    body: dict[str, Any] = {"model": "m", "input": {"query": Q, "documents": D}, "parameters": {"top_n": 2}}
    assert exchange(path, body).answer == {"output": {"results": ranked()[:2]}, "usage": {"total_tokens": 21}, "request_id": "id-1"}
    body["parameters"] = {"return_documents": True, "instruct": "find it"}
    found = exchange(path, body)
    assert found.answer["output"]["results"] == ranked(back=[{"text": text} for text in D])
    assert found.requests[0].instruction == "find it"
    assert found.requests[0].model == "m"


def test_librechat() -> None:
    """Index and score, cut at top_n."""
    body = {"query": Q, "candidates": [{"id": str(i), "text": text, "base_score": 0.1} for i, text in enumerate(D)], "top_n": 2}
    assert exchange("/v1/rerank", body).answer == {"results": [{"index": i, "score": near(S[i])} for i in ORDER[:2]]}


def test_deepinfra() -> None:
    """Scores in input order; the model's name is in the path."""
    found = exchange("/v1/inference/Qwen/Qwen3-Reranker-0.6B", {"queries": [Q] * 3, "documents": D})
    assert found.answer == {
        "scores": near(S),
        "input_tokens": 21,
        "request_id": "id-1",
        "inference_status": {"status": "succeeded", "runtime_ms": 40, "cost": 0.0, "tokens_input": 21},
    }
    assert found.requests[0].model == "Qwen/Qwen3-Reranker-0.6B"


@pytest.mark.parametrize(("first", "second"), [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")])
def test_vllm_score(first: str, second: str) -> None:
    """One to many or many to as many, scores in input order, raw without activation."""
    found = exchange("/score", {first: Q, second: D, "model": "m"})
    assert found.answer == {
        "id": "id-1",
        "object": "list",
        "created": 1_700_000_000,
        "model": MODEL,
        "data": [{"index": i, "object": "score", "score": near(score)} for i, score in enumerate(S)],
        "usage": {**USAGE, "prompt_tokens_details": None},
    }
    each = exchange("/v1/score", {first: [Q, "other", Q], second: D, "use_activation": False})
    assert [item["score"] for item in each.answer["data"]] == near([RAW[0], raw_score("other", D[1]), RAW[2]])
    assert len(exchange("/score", {first: Q, second: D[0]}).answer["data"]) == 1


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v1/reranking"])
def test_message_pack(path: str) -> None:
    """MessagePack in and out carries the same answer as JSON."""
    body = {"query": Q, "documents": D, "return_documents": True} if path != "/v1/reranking" else {"query": Q, "input": D}
    packed = exchange(path, msgspec.msgpack.encode(body), {"content-type": "application/msgpack"})
    assert packed.answer == exchange(path, body).answer
    assert packed.call.packed


LENGTH = {"max_length": "truncate_prompt_tokens"}
SENT = {"chunk_overlap": "overlap_tokens"}
"""What errors call these."""


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"top_n": 0}, {"top_n": 0}),
        ({"top_n": 2.0}, {"top_n": 2}),
        ({"top_n": 99}, {"top_n": 99}),
        ({"instruction": "i"}, {"instruction": "i"}),
        ({"instruct": "i"}, {"instruction": "i"}),
        ({"max_length": 128}, {"max_length": 128}),
        ({"truncate_prompt_tokens": 128}, {"max_length": 128, "sent": LENGTH}),
        ({"truncate_prompt_tokens": -1}, {"max_length": None, "sent": LENGTH}),
        ({"max_tokens_per_doc": 4096, "priority": 3}, {"max_tokens_per_doc": 4096, "priority": 3}),
        ({"truncate": False}, {"truncate": False}),
        ({"truncate": "NONE"}, {"truncate": False}),
        ({"truncate": True}, {"truncate": True, "side": None}),
        ({"truncate": "END"}, {"truncate": True, "side": "right"}),
        ({"truncate": "START"}, {"truncate": True, "side": "left"}),
        ({"truncation_direction": "Left"}, {"side": "left"}),
        ({"truncation_side": "left"}, {"side": "left"}),
        ({"long_documents": "chunk", "chunk_overlap": 5, "max_chunks": 3}, {"long": "chunk", "chunk_overlap": 5, "max_chunks": 3}),
        ({"long_documents": "truncate", "max_chunks_per_doc": 10}, {"long": "truncate", "max_chunks": 10}),
        ({"max_chunks_per_doc": 10}, {"long": "chunk", "max_chunks": 10}),
        ({"max_chunks_per_doc": 1}, {"long": None, "max_chunks": 1}),
        ({"max_chunks_per_doc": 1, "overlap_tokens": 80}, {"long": None, "max_chunks": 1, "chunk_overlap": 80, "sent": SENT}),
        ({"overlap_tokens": 80}, {"long": "chunk", "chunk_overlap": 80, "sent": SENT}),
        ({"overlap_tokens": 0}, {"long": None, "chunk_overlap": 0, "sent": SENT}),
    ],
)
def test_options(given: dict[str, Any], read: dict[str, Any]) -> None:
    """Every option lands in the request under the one name that the engine knows."""
    for path, extra in (("/rerank", {}), ("/v1/rerank", {"model": "m"})):
        request = exchange(path, {"query": Q, "documents": D, **given, **extra}).requests[0]
        defaults = RerankRequest(query=Q, documents=D, model=extra.get("model"))
        assert request == msgspec.structs.replace(defaults, **read)


def test_own_options_of_others() -> None:
    """Voyage's truncation, NIM's truncate and Pinecone's parameters say whether what is too long may be cut."""
    assert exchange("/v1/rerank", {"query": Q, "documents": D, "truncation": False}).requests[0].truncate is False
    nim = {"query": {"text": Q}, "passages": [{"text": "x"}], "truncate": "NONE"}
    assert exchange("/v1/ranking", nim).requests[0].truncate is False
    pinecone = {"query": Q, "documents": D, "parameters": {"truncate": "END"}}
    assert exchange("/rerank", pinecone, {"x-pinecone-api-version": "2026-07"}).requests[0].truncate is True


PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two two"}]


@pytest.mark.parametrize(
    ("documents", "texts"),
    [
        ("lone", ["lone"]),
        ({"content": PARTS}, ["one", "two two"]),
        ([{"content": PARTS}, "three"], ["one\ntwo two", "three"]),
        ([{"text": "its own", "content": []}, {"text": "text", "content": PARTS}], ["its own", "text"]),
    ],
)
@pytest.mark.parametrize("query", ["q", {"content": [{"type": "text", "text": "q"}]}])
def test_what_vllm_takes_as_documents(query: Any, documents: Any, texts: list[str]) -> None:
    """A lone text, parts that are a document each, or documents in parts; on /score under every pair of names, and as the other side."""
    for path, extra in (("/rerank", {}), ("/v1/rerank", {"model": "m"}), ("/v2/rerank", {"model": "m", "return_documents": True})):
        found = exchange(path, {"query": query, "documents": documents, **extra})
        assert (found.requests[0].query, found.requests[0].documents) == ("q", texts)
        if "return_documents" in extra:
            assert {item["document"]["text"] for item in found.answer["results"]} == set(texts)
    for first, second in (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")):
        found = exchange("/score", {first: query, second: documents})
        assert (found.requests[0].query, found.requests[0].documents) == ("q", texts)
    assert exchange("/score", {"text_1": {"content": PARTS}, "text_2": ["a", "b"]}).requests[1].query == "two two"


def _last_name(path: str, body: dict[str, Any]) -> str:
    (request,) = exchange(path, body).requests
    return request.name_of(len(request.documents) - 1)


def test_documents_are_called_as_they_were_sent() -> None:
    """One that came alone has no number, one that came as a part has the part's."""
    for documents, name in (("lone", "documents"), ({"content": PARTS}, "documents.content[1]"), ([*PARTS], "documents[1]")):
        for path in ("/rerank", "/v1/rerank"):
            assert _last_name(path, {"query": Q, "documents": documents}) == name
        assert _last_name("/score", {"queries": Q, "documents": documents}) == name


def test_no_tokens_per_document_are_no_limit() -> None:
    """vLLM's clients send 0 for it."""
    assert exchange("/v1/rerank", {"query": Q, "documents": D, "max_tokens_per_doc": 0}).requests[0].max_tokens_per_doc is None


@pytest.mark.parametrize("number", [4, 2**31, 2**53 - 1, 2**63 - 1, 10**30, 1e300])
def test_more_results_than_there_are(number: float) -> None:
    """All of them, however many were asked for: some clients say "all" by the largest number that they have."""
    for path, body in (
        ("/rerank", {"query": Q, "documents": D, "top_n": number}),
        ("/v1/rerank", {"query": Q, "documents": D, "top_k": number}),
        ("/rerank/query", {"query": Q, "passages": D, "top_n": number}),
        ("/v1/reranking", {"query": Q, "input": D, "top_k": number}),
    ):
        assert (exchange(path, body).requests[0].top_n or 0) >= len(D), path

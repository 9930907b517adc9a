"""Who may ask, how much, and from which page."""

from __future__ import annotations

from pathlib import Path

import pytest

from batching.errors import SettingError
from service.auth import read_keys, shown_keys
from service.settings_parse import hash_key
from tests.http.conftest import Client, Start

GOOD = {"query": "a", "documents": ["b"], "model": "m"}


def _status(client: Client, **headers: str) -> int:
    return client.post("/rerank", json=GOOD, headers={name.replace("_", "-"): value for name, value in headers.items()}).status_code


def test_without_keys_anything_goes(client: Client) -> None:
    """Clients that must send some key may send any."""
    assert _status(client) == _status(client, Authorization="Bearer None") == _status(client, Authorization="nonsense") == 200


def test_every_way_to_show_a_key(start: Start) -> None:
    """Bearer in any case, raw, Api-Key and X-Api-Key; several keys, plain or hashed."""
    client = start(api_key=f"one, {hash_key('two')}")
    for key in ("one", "two"):
        for headers in (
            {"Authorization": f"Bearer {key}"},
            {"Authorization": f"bearer  {key}"},
            {"Authorization": key},
            {"Api_Key": key},
            {"X_Api_Key": key},
            {"Authorization": "Basic dXNlcjpwYXNz", "X_Api_Key": key},
        ):
            assert _status(client, **headers) == 200, headers


def test_a_missing_or_wrong_key_is_401(start: Start) -> None:
    """401 with WWW-Authenticate and a string detail; the hash of a key is no key."""
    client = start(api_key="one")
    for headers in (
        {},
        {"Authorization": "Bearer two"},
        {"Authorization": "Bearer"},
        {"Authorization": hash_key("one")},
        {"Authorization": "Bearer öne"},
    ):
        answer = client.post("/rerank", json=GOOD, headers={name: value.encode() for name, value in headers.items()})
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert isinstance(answer.json()["detail"], str)


def test_what_stays_open_and_what_does_not(start: Start) -> None:
    """Health, pages and, by default, metrics need no key; models, info and stats do."""
    client = start(api_key="one")
    for path in ("/", "/health", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/version", "/v1/cluster/auth"):
        assert client.get(path).status_code == 200, path
    for path in ("/v1/models", "/v1/models/x", "/info", "/stats"):
        assert client.get(path).status_code == 401, path
    assert client.get("/v1/models", headers={"Authorization": "Bearer one"}).status_code == 200
    guarded = start(api_key="one", metrics_auth="true")
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/metrics", headers={"Authorization": "one"}).status_code == 200


def test_keys_from_a_file_are_reloaded(start: Start, tmp_path: Path) -> None:
    """A reload takes new keys and drops old ones; a broken file leaves them as they were; an emptied one opens nothing."""
    file = tmp_path / "keys"
    file.write_text(f"# team keys\nsearch: one\n{hash_key('two')}\n\n")
    client = start(api_keys_file=str(file), api_key="fixed")
    assert [_status(client, Authorization=key) for key in ("one", "two", "three", "fixed")] == [200, 200, 401, 200]
    file.write_text("three\n")
    client.app.state.reload()
    assert [_status(client, Authorization=key) for key in ("one", "two", "three", "fixed")] == [401, 401, 200, 200]
    file.unlink()
    client.app.state.reload()
    assert _status(client, Authorization="three") == 200
    file.write_text("")
    client.app.state.reload()
    assert _status(client) == _status(client, Authorization="three") == 401


def test_a_missing_key_file_stops_the_start(start: Start, tmp_path: Path) -> None:
    """The start fails with the variable's name."""
    with pytest.raises(SettingError, match="RERANKER_API_KEYS_FILE"):
        start(api_keys_file=str(tmp_path / "none"))


def test_a_key_file_is_read_as_it_is_described(tmp_path: Path) -> None:
    """A key, a name with its key, hashes in any case; a key may hold a colon where it has a name."""
    file = tmp_path / "keys"
    two = hash_key("two").removeprefix("sha256:")
    file.write_text(f"one\nsha256:{two.upper()}\nsearch: three\nother: sha256:{two}\nuser: four:five\n")
    found = {key.name: f"sha256:{key.digest.hex()}" for key in read_keys(file)}
    assert found == {
        hash_key("one")[7:15]: hash_key("one"),
        "search": hash_key("three"),
        "other": hash_key("two"),
        "user": hash_key("four:five"),
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sha256:zz", "64 hex digits"),
        ("bob: sha256:0123", "64 hex digits"),
        ("sha256: " + "0" * 64, "64 hex digits"),
        ("bob:secret", "a colon needs a blank after it, as in `name: key`"),
        ("bob:", "a colon needs a blank"),
    ],
)
def test_a_wrong_line_of_a_key_file_is_refused(line: str, words: str, tmp_path: Path) -> None:
    """It is named by file and number, and not repeated: it holds a key."""
    file = tmp_path / "keys"
    file.write_text(f"# keys\none\n{line}\n")
    with pytest.raises(SettingError, match=rf"^RERANKER_API_KEYS_FILE='{file}', line 3: .*{words}") as refused:
        read_keys(file)
    assert "secret" not in str(refused.value)


def test_request_rate(start: Start) -> None:
    """A key that asks too often gets 429 with Retry-After; another key is not held back."""
    client = start(api_key="one,two", rate_limit_requests="0.5")
    statuses = [_status(client, Authorization="one") for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    refused = client.post("/rerank", json=GOOD, headers={"Authorization": "one"})
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert "RERANKER_RATE_LIMIT_REQUESTS" in refused.json()["detail"]
    assert _status(client, Authorization="two") == 200
    assert 'rerankd_rejections_total{reason="rate_limited"} 4.0' in client.get("/metrics").text


def test_token_rate_over_processes(start: Start, tmp_path: Path) -> None:
    """Tokens are taken when they are counted, whichever process does; a caller in debt waits."""
    first = start(api_key="one", rate_limit_tokens="1", shared=tmp_path, index=0)
    second = start(api_key="one", rate_limit_tokens="1", shared=tmp_path, index=1)
    long = {**GOOD, "documents": ["w " * 30]}
    assert first.post("/rerank", json=long, headers={"Authorization": "one"}).status_code == 200
    refused = second.post("/rerank", json=GOOD, headers={"Authorization": "one"})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 20


def test_keys_are_counted_only_if_asked(start: Start, tmp_path: Path) -> None:
    """A label per key, by name or the start of its hash, never by its text."""
    file = tmp_path / "keys"
    file.write_text("search: one\n")
    client = start(api_keys_file=str(file), metrics_per_key="true")
    _status(client, Authorization="one")
    text = client.get("/metrics").text
    assert 'rerankd_key_requests_total{key="search"} 1.0' in text
    assert 'rerankd_key_tokens_total{key="search"} 3.0' in text
    assert "rerankd_key" not in start(api_key="one").get("/metrics").text


def test_cors_is_closed_unless_set(start: Start) -> None:
    """No CORS header without the setting; with it only its origins, on errors and preflights too."""
    page = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    closed = start()
    assert "access-control-allow-origin" not in closed.post("/rerank", json=GOOD, headers=page).headers
    opened = start(cors_origins="https://page.example")
    answers = [
        opened.post("/rerank", json=GOOD, headers=page),
        opened.post("/rerank", json={}, headers=page),
        opened.options("/rerank", headers=page),
    ]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "POST" in answers[-1].headers["access-control-allow-methods"]
    stranger = opened.post("/rerank", json=GOOD, headers={"Origin": "https://evil.example"})
    assert stranger.headers.get("access-control-allow-origin") != "https://evil.example"


def test_a_compressed_answer_to_a_browser_varies_by_both(start: Start) -> None:
    """A cache must keep apart what differs by origin and what differs by encoding; other answers vary by what they did."""
    client = start(cors_origins="https://page.example")
    page = {"Origin": "https://page.example"}
    large = {**GOOD, "documents": ["word " * 20] * 200, "return_documents": True}
    for asked, encoding in (("gzip", "gzip"), ("identity", None)):
        for path in ("/v1/rerank", "/v1/rerank/"):
            answer = client.post(path, json=large, headers={**page, "Accept-Encoding": asked})
            assert answer.headers.get("content-encoding") == encoding
            assert sorted(answer.headers["vary"].lower().split(", ")) == ["accept-encoding", "origin"]
            assert client.post(path, json=large, headers={"Accept-Encoding": asked}).headers["vary"] == "accept-encoding"
    assert client.post("/v1/rerank", json=GOOD, headers=page).headers["vary"].lower() == "origin"


@pytest.mark.parametrize("empty", ["Bearer ", "Bearer", "token", "  "])
def test_a_scheme_without_a_key_is_none(empty: str) -> None:
    """A client that is given no key sends the scheme alone, and its key may stand in the header of another proxy."""
    assert shown_keys({"authorization": empty}) == []
    assert shown_keys({"authorization": empty, "x-api-key": "k"}) == ["k"]

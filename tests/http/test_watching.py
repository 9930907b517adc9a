"""Health, metrics, logs and what is said about the service."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import msgspec
import pytest

from batching.calibrate import Point
from service import exposition
from service.logs import JsonLines, PlainLines
from tests.http.conftest import Client, Start
from tests.http.fakes import FakeModel, worker

GOOD = {"query": "private words", "documents": ["b"], "model": "m"}


@pytest.mark.parametrize(
    ("workers", "ready"),
    [
        ([worker()], True),
        ([], False),
        ([worker(state="starting")], False),
        ([worker(state="failed", reason="no such file")], False),
        ([worker(state="draining")], False),
        ([worker(heartbeat_age_s=30.0)], False),
        ([worker(forward_age_s=60.0)], False),
        ([worker(forward_age_s=60.0, forward_running_s=59.0)], True),
        ([worker(forward_running_s=61.0)], False),
        ([worker(forward_running_s=59.0)], True),
        ([worker(state="failed"), worker(slot=1)], True),
    ],
)
def test_ready_means_a_worker_to_rely_on(client: Client, model: FakeModel, workers: list[object], ready: bool) -> None:
    """Ready needs one worker that is up, heard of just now and not stuck; else 503 and a reason; live stays true."""
    model.client.workers = workers  # type: ignore[assignment]
    for path in ("/health", "/health/ready", "/healthz", "/ready", "/v1/health/ready"):
        answer = client.get(path)
        assert answer.status_code == (200 if ready else 503)
        assert client.head(path).status_code == answer.status_code
    if not ready:
        assert model.card.name in client.get("/health").json()["detail"]
    assert client.get("/health/live").status_code == client.get("/live").status_code == 200
    assert client.get("/health").json()["model_loaded"] is ready


def test_ready_needs_every_model(start: Start) -> None:
    """One model without a worker makes the service not ready."""
    other = FakeModel("org/other")
    other.client.workers = [worker(state="starting")]
    answer = start(other).get("/health/ready")
    assert answer.status_code == 503
    assert "org/other" in answer.json()["detail"]


def test_draining_is_not_ready_but_still_serves(client: Client) -> None:
    """On the way out readiness is false, and what comes is still answered."""
    client.app.state.drain()
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
    assert client.post("/rerank", json=GOOD).status_code == 200


def test_health_has_the_keys_that_clients_read(client: Client) -> None:
    """The union of what known clients look at."""
    assert (
        client.get("/health").json().items() >= {"status": "ok", "model_loaded": True, "model": "org/fake-model", "device": "cpu"}.items()
    )
    info = client.get("/info").json()
    assert info["model_type"]["reranker"]["id2label"] == {"0": "LABEL_0"}
    assert info["max_client_batch_size"] == 2000
    assert {"model_name", "model_id", "max_length", "version", "device"} <= info.keys()
    assert client.get("/stats").json()["org/fake-model"]["workers"][0]["state"] == "ready"


def test_info_shows_the_measured_curve(start: Start, model: FakeModel) -> None:
    """What a batch was measured to take: of the first worker that has measured; nothing where none did."""
    client = start()
    assert client.get("/info").json()["batch_curve"] == []
    model.client.workers = [worker(), worker(slot=1, curve=[Point(256, 0.016), Point(512, 0.025)])]
    assert client.get("/info").json()["batch_curve"] == [
        {"tokens": 256, "ms": 16.0, "tokens_per_s": 16000},
        {"tokens": 512, "ms": 25.0, "tokens_per_s": 20480},
    ]
    assert client.get("/stats").json()["org/fake-model"]["workers"][1]["curve"][0] == {"tokens": 256, "seconds": 0.016}


def test_models_are_listed_as_openai_does(start: Start) -> None:
    """The default first; one by its name, with slashes and in any case; 404 for others."""
    client = start(FakeModel("org/other"))
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["org/fake-model", "org/other"]
    assert client.get("/v1/models/org/other").json()["model_type"] == "rerank"
    assert client.get("/v1/models/OTHER").json()["id"] == "org/other"
    missing = client.get("/v1/models/nobody")
    assert (missing.status_code, "nobody" in missing.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/assets/page.css",
        "/models",
        "/v1/models",
        "/v1/models/m",
        "/v1/cluster/auth",
        "/version",
        "/info",
        "/stats",
    ],
)
def test_what_is_got_may_be_looked_at(start: Start, path: str) -> None:
    """HEAD tells what GET would, without the body, and asks for a key where GET does."""
    client = start(strict_models="true", api_key="one")
    for headers in ({}, {"Authorization": "one"}):
        got, looked = client.get(path, headers=headers), client.head(path, headers=headers)
        assert looked.status_code == got.status_code
        assert [looked.headers[name] for name in ("content-type", "content-length")] == [
            got.headers[name] for name in ("content-type", "content-length")
        ]


def _series(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}


def test_every_series_is_there_at_zero(client: Client) -> None:
    """A rate over any series is right from the first scrape on: all of them exist before the first request."""
    before = _series(client.get("/metrics").text)
    client.post("/rerank", json=GOOD)
    client.post("/rerank", json={})
    after = _series(client.get("/metrics").text)
    assert before.keys() == after.keys()
    counters = {name: value for name, value in before.items() if "rerankd_request" in name}
    assert set(counters.values()) == {0.0}
    assert after['rerankd_request_duration_seconds_count{model="org/fake-model"}'] == 1.0
    assert after['rerankd_pairs_total{model="org/fake-model"}'] == 1.0


@pytest.mark.parametrize("accept", ["", "text/plain;version=1.0.0;escaping=underscores", "application/openmetrics-text;version=1.0.0"])
def test_the_page_names_its_format_once(client: Client, accept: str) -> None:
    """Whole and as Prometheus' library words it, with one version and one charset, for GET and HEAD."""
    for method in ("GET", "HEAD"):
        (kind,) = client.request(method, "/metrics", headers={"Accept": accept}).headers.get_list("content-type")
        assert kind == exposition.media_type(accept)
        assert kind.count("charset=utf-8") == kind.count("version=") == 1


def test_names_and_units_are_as_prometheus_wants(client: Client) -> None:
    """Base units in names, `_total` on counters only, every family with help."""
    text = client.get("/metrics").text
    kinds = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    helped = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert helped == kinds.keys()
    for name, kind in kinds.items():
        assert name.startswith("rerankd_")
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|milliseconds|kb|minutes)\b", name)
    bounds = [float(found) for found in re.findall(r'rerankd_request_duration_seconds_bucket{le="([\d.]+)"', text)]
    assert (bounds[0], bounds[-1]) == (0.001, 10.0)


def test_any_process_tells_the_sum_and_a_successor_goes_on(start: Start, tmp_path: Path) -> None:
    """Two processes' requests are summed whichever is asked; a process that comes back counts on; no file is added."""
    name = 'rerankd_requests_total{dialect="common",status="200"}'
    first, second = start(shared=tmp_path, index=0), start(shared=tmp_path, index=1)
    for client in (first, second, second):
        client.post("/rerank", json=GOOD)
    assert _series(first.get("/metrics").text)[name] == _series(second.get("/metrics").text)[name] == 3.0
    files = sorted(path.name for path in tmp_path.iterdir())
    successor = start(shared=tmp_path, index=1)
    successor.post("/rerank", json=GOOD)
    assert _series(first.get("/metrics").text)[name] == 4.0
    assert _series(first.get("/metrics").text)["rerankd_requests_in_flight"] == 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_worker_numbers_come_from_the_board(client: Client, model: FakeModel) -> None:
    """What workers count is told by whichever process is asked, histograms too."""
    buckets = [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3]
    model.client.workers = [worker(batches=3, tokens=900, budget_tokens=600, restarts=2, batch_tokens_buckets=buckets)]
    series = _series(client.get("/metrics").text)
    labels = '{model="org/fake-model",worker="0"}'
    assert series[f"rerankd_worker_restarts_total{labels}"] == 2.0
    assert series[f"rerankd_worker_batch_fill_ratio{labels}"] == 0.5
    assert series[f"rerankd_worker_batch_tokens_count{labels}"] == 3.0
    assert series[f"rerankd_worker_batch_tokens_sum{labels}"] == 900.0
    assert series['rerankd_worker_batch_tokens_bucket{le="128.0",model="org/fake-model",worker="0"}'] == 1.0


def test_one_line_per_request_and_no_text(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A request leaves one line at info with its id, dialect, status and counts, and none of its words; probes leave none."""
    logger = logging.getLogger("rerankd.access")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "rerankd.access"):
            client.post("/rerank", json=GOOD, headers={"X-Request-Id": "r1"})
            client.get("/health")
    finally:
        logger.removeHandler(caplog.handler)
    records = {id(record): record for record in caplog.records if record.name == "rerankd.access"}.values()
    (line,) = [PlainLines("http-0").format(record) for record in records]
    assert "POST /rerank 200" in line
    for part in ("request_id=r1", "dialect=common", "documents=1", "tokens=4", "model=org/fake-model"):
        assert part in line
    assert "private" not in line


def test_log_lines_are_one_line_each() -> None:
    """Whatever a message or a field holds, a JSON line is one JSON object and a plain line one line."""
    record = logging.makeLogRecord({"name": "rerankd.x", "levelname": "INFO", "msg": "two\nlines", "who": 'a "b"\n', "path": Path("/x")})
    line = JsonLines("http-1").format(record)
    assert "\n" not in line
    assert json.loads(line).items() >= {"message": "two\nlines", "who": 'a "b"\n', "process": "http-1", "path": "/x"}.items()
    assert "\n" not in PlainLines("http-1").format(record)
    assert msgspec.json.decode(line)["level"] == "info"

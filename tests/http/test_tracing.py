"""Traces: what a call's spans are, whose children, when they began and ended; and nothing of it where nobody asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from batching.errors import Overloaded, SettingError
from service import tracing
from service.models import Models
from service.settings import Settings
from tests.http.conftest import Client, Start
from tests.http.fakes import FakeModel

GOOD = {"query": "a", "documents": ["b", "c d"], "model": "m"}
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Kept(SpanExporter):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


class Traced:
    """An application whose traces are kept."""

    def __init__(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept = Kept()
        self.made: list[tracing.Tracing] = []

        def open_kept(settings: Settings, models: Models, index: int) -> tracing.Tracing:
            self.made.append(tracing.Tracing(self.kept, models, index))
            return self.made[-1]

        monkeypatch.setattr(tracing, "open_tracing", open_kept)
        self.client: Client = start()

    def spans(self) -> dict[str, ReadableSpan]:
        self.made[0].close()
        return {span.name: span for span in self.kept.spans}


@pytest.fixture
def traced(start: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    yield Traced(start, monkeypatch)


def test_the_spans_of_a_call(traced: Traced) -> None:
    """A server span under the caller's, in it tokenize, queue and batch, in the batch its forward; times lie within one another."""
    before = time.time_ns()
    answer = traced.client.post("/v1/rerank", json=GOOD, headers={"traceparent": CALLER, "x-request-id": "my-id"})
    assert answer.status_code == 200
    after = time.time_ns()
    spans = traced.spans()
    assert set(spans) == {"POST /v1/rerank", "tokenize", "queue", "batch", "forward"}
    server, batch, forward = spans["POST /v1/rerank"], spans["batch"], spans["forward"]
    assert all(span.context.trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736 for span in spans.values())
    assert server.parent is not None
    assert server.parent.span_id == 0x00F067AA0BA902B7
    for name in ("tokenize", "queue", "batch"):
        assert spans[name].parent.span_id == server.context.span_id, name
    assert forward.parent.span_id == batch.context.span_id
    assert before <= server.start_time <= spans["tokenize"].start_time <= spans["tokenize"].end_time <= server.end_time <= after
    assert spans["queue"].end_time == batch.start_time
    assert batch.start_time <= forward.start_time <= forward.end_time == batch.end_time <= server.end_time
    assert server.attributes["rerankd.request_id"] == "my-id"
    assert server.attributes["rerankd.model"] == "org/fake-model"
    assert (server.attributes["rerankd.documents"], server.attributes["rerankd.tokens"]) == (2, 7)
    assert server.attributes["http.response.status_code"] == 200
    assert (batch.attributes["rerankd.worker.slot"], batch.attributes["rerankd.worker.device"]) == (0, "cpu")
    assert batch.attributes["rerankd.batch.tokens"] == 7


def test_what_fails_is_traced_too(traced: Traced, model: FakeModel) -> None:
    """A refusal has its status and no parts; an error is marked; health and metrics leave no span; a damaged traceparent starts a new trace."""
    model.client.error = Overloaded("full")
    assert traced.client.post("/rerank", json=GOOD, headers={"traceparent": "nonsense"}).status_code == 429
    model.client.error = RuntimeError("bug")
    assert traced.client.post("/v1/rerank", json=GOOD).status_code == 500
    traced.client.get("/health")
    spans = traced.spans()
    assert set(spans) == {"POST /rerank", "POST /v1/rerank"}
    assert spans["POST /rerank"].attributes["http.response.status_code"] == 429
    assert spans["POST /rerank"].parent is None
    assert spans["POST /rerank"].status.is_ok or spans["POST /rerank"].status.is_unset
    assert not spans["POST /v1/rerank"].status.is_ok


def test_a_caller_who_is_not_sampled_is_not_traced(traced: Traced) -> None:
    """The caller's decision holds."""
    assert traced.client.post("/rerank", json=GOOD, headers={"traceparent": CALLER[:-1] + "0"}).status_code == 200
    assert traced.spans() == {}


def test_spans_reach_a_collector(start: Start) -> None:
    """With the setting they are posted to /v1/traces there; a collector that is gone disturbs no answer."""
    bodies: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = start(otlp_endpoint=f"http://127.0.0.1:{server.server_port}/")
        assert client.post("/rerank", json=GOOD).status_code == 200
        client.app.state.rerankd.tracing.close()
        server.shutdown()
    assert [path for path, _ in bodies] == ["/v1/traces"]
    assert b"POST /rerank" in bodies[0][1]
    assert b"rerankd.worker.slot" in bodies[0][1]


def test_nothing_is_imported_where_nobody_asked() -> None:
    """Without the setting nothing of OpenTelemetry is loaded but the names that the web framework looks up."""
    probe = """
import sys
from service.app import create_app
from tests.http.fakes import FakeModel, settings
app = create_app(settings(), [FakeModel().served], 0)
print([n for n in sys.modules if n.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.trace", "google.protobuf"))], app.state.rerankd.tracing)
"""
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.split() == ["[]", "None"]


def test_a_start_without_the_extra_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the setting and the remedy."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"RERANKER_OTLP_ENDPOINT.*rerankd\[otel\]"):
        tracing.check(Settings(otlp_endpoint="http://127.0.0.1:4318"))
    tracing.check(Settings())

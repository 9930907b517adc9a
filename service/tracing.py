"""OpenTelemetry traces of rerank calls: a server span, in it tokenize, and for each batch that its pairs were in queue, batch, forward.

Spans are made when a call is over, from times that were noted anyway, workers' too: those stand in the arena, so that a worker knows
nothing of tracing. The library (extra `otel`) is imported only where RERANKER_OTLP_ENDPOINT is set.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batching.errors import SettingError
from batching.job import Scored
from batching.owner import Stay
from service import health
from service.models import Models
from service.settings import PREFIX, Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

    from service.exchange import Exchange

MOST_BATCHES = 32
"""Of a call that are told apart; a call of thousands of documents goes through many batches, of which the first are told."""
EXPORT_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Trace:
    """What a call leaves behind for its spans. Times in monotonic seconds."""

    model: str = ""
    tokenize: tuple[float, float] | None = None
    tokens: int = 0
    stays: list[Stay] = field(default_factory=list)

    def tokenized(self, model: str, began: float, tokens: int) -> None:
        """Note that tokenizing is over now."""
        self.model, self.tokens, self.tokenize = model, tokens, (began, time.monotonic())

    def scored(self, answers: Sequence[Scored]) -> None:
        """Note where a call's pairs were."""
        for answer in answers:
            self.stays += answer.stays


def check(settings: Settings) -> None:
    """Raise SettingError where traces are asked for and the library is not installed."""
    if settings.otlp_endpoint and importlib.util.find_spec("opentelemetry") is None:
        raise SettingError(f"{PREFIX}OTLP_ENDPOINT is set, and OpenTelemetry is not installed; get it with: pip install 'rerankd[otel]'")


def open_tracing(settings: Settings, models: Models, index: int) -> Tracing | None:
    """Return what sends traces to OTLP_ENDPOINT, None where there is none. Raises SettingError."""
    if not settings.otlp_endpoint:
        return None
    check(settings)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    url = settings.otlp_endpoint.rstrip("/")
    exporter = OTLPSpanExporter(url if url.endswith("/v1/traces") else f"{url}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    return Tracing(exporter, models, index)


class Tracing:
    """Makes spans and sends them from a thread of its own. Sampling follows the caller's, and OTEL_TRACES_SAMPLER."""

    def __init__(self, exporter: SpanExporter, models: Models, index: int) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = {"service.name": "rerankd", "service.version": health.version(), "service.instance.id": f"http-{index}"}
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rerankd", health.version())
        self._models = models
        self._devices: dict[tuple[str, int], str] = {}

    def tell(self, exchange: Exchange) -> None:
        """Make the spans of a call that is over."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        trace = exchange.trace
        if trace is None:
            return
        clock = _Clock()
        status = exchange.status or 499
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.path}",
            context=_parent(exchange),
            kind=SpanKind.SERVER,
            attributes=_about(exchange, trace, status),
            start_time=clock.at(exchange.started),
        )
        if span.is_recording():
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR, exchange.reason))
            self._tell_parts(trace, set_span_in_context(span), clock)
        span.end(clock.at(time.monotonic()))

    def _tell_parts(self, trace: Trace, parent: Context, clock: _Clock) -> None:
        from opentelemetry.trace import set_span_in_context

        def tell(name: str, times: tuple[float, float], within: Context, **about: Any) -> Context:
            span = self._tracer.start_span(name, within, attributes=about, start_time=clock.at(times[0]))
            span.end(clock.at(times[1]))
            return set_span_in_context(span)

        if trace.tokenize is not None:
            tell("tokenize", trace.tokenize, parent)
        for stay in trace.stays[:MOST_BATCHES]:
            device = self._device(trace.model, stay.worker)
            about = {"rerankd.batch.tokens": stay.batch_tokens, "rerankd.worker.slot": stay.worker, "rerankd.worker.device": device}
            tell("queue", (stay.put_at, stay.leased_at), parent)
            batch = tell("batch", (stay.leased_at, stay.ended_at), parent, **about)
            tell("forward", (stay.ended_at - stay.forward_s, stay.ended_at), batch, **about)

    def _device(self, model: str, slot: int) -> str:
        found = self._devices.get((model, slot))
        if found is None:
            for name, view in self._models.views().items():
                self._devices |= {(name, worker.slot): worker.device for worker in view.workers}
            found = self._devices.get((model, slot), "")
        return found

    def close(self) -> None:
        """Send what is left, for a few seconds at the most. Blocks."""
        self._provider.shutdown()


class _Clock:
    """From monotonic seconds to nanoseconds since the epoch, by how far apart the clocks are now."""

    def __init__(self) -> None:
        self._apart = time.time_ns() - time.monotonic_ns()

    def at(self, moment: float) -> int:
        return int(moment * 1e9) + self._apart


def _parent(exchange: Exchange) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(exchange.headers)


def _about(exchange: Exchange, trace: Trace, status: int) -> dict[str, Any]:
    call = exchange.call
    return {
        "http.request.method": exchange.method,
        "url.path": exchange.path,
        "http.response.status_code": status,
        "rerankd.request_id": exchange.request_id,
        "rerankd.dialect": call.dialect if call else "",
        "rerankd.model": exchange.model or trace.model,
        "rerankd.documents": exchange.documents,
        "rerankd.tokens": exchange.tokens or trace.tokens,
        "rerankd.batches": len(trace.stays),
    }

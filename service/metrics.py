"""Every metric that HTTP processes count: its name, labels and buckets. What workers count is `metrics_engine`'s.

With a directory the values live in files there, one set per HTTP process index: whichever process answers /metrics tells the sum, and a
successor goes on counting where its predecessor died. Nothing here is made at import, since the client library has to be told first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from batching.errors import StartError
from batching.files import create
from service import failures
from service.generations import Generations
from service.models import Model
from service.schemas import RerankResult

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DOCUMENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
FILE_BYTES = 1 << 20
"""Of each metrics file, reserved at start: growing one on a full tmpfs would kill the process. The client library's own first size."""

NO_DIALECT = "none"
"""Of requests that failed before their dialect was known."""


class Metrics:
    """The counters of one HTTP process and the page that tells all of them."""

    def __init__(
        self,
        models: Sequence[str],
        dialects: Sequence[str],
        index: int = 0,
        directory: Path | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        """Make every series at zero. `directory`: where the processes' files are, None for one process alone; `keys`: count per key."""
        self._page = CollectorRegistry()
        _choose_values(index, directory)
        registry = self._page if directory is None else None
        if directory is not None:
            MultiProcessCollector(self._page, str(directory))
        self._per_key = keys is not None
        self._declare(registry)
        self._show_zeros(models, dialects, keys or ())

    def _declare(self, registry: CollectorRegistry | None) -> None:
        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"rerankd_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str, buckets: Iterable[float] = SECONDS) -> Histogram:
            return Histogram(f"rerankd_{name}", help_, ["model"], buckets=buckets, registry=registry)

        self.requests = counter(
            "requests", "HTTP requests to rerank paths, by the client dialect and the status answered.", "dialect", "status"
        )
        self.rejections = counter("rejections", "Requests that were not answered with a ranking, by reason.", "reason")
        self.in_flight = Gauge(
            "rerankd_requests_in_flight",
            "Requests to rerank paths that are received and not yet answered.",
            registry=registry,
            multiprocess_mode="sum",
        )
        self.pairs = counter("pairs", "Pairs of query and document that were answered with a score.", "model")
        self.tokens = counter("tokens", "Tokens of those pairs.", "model")
        self.truncations = counter("truncations", "Documents that were cut to fit.", "model")
        self.repeats = counter("repeated_documents", "Documents that stood in their request before and were scored once.", "model")
        self.failed_documents = counter("failed_documents", "Documents without a finite score (NaN), reported to the caller.", "model")
        self.token_hits = counter("token_cache_hits", "Documents whose tokens were known from an earlier request.", "model")
        self.token_misses = counter("token_cache_misses", "Documents whose tokens were looked up in vain.", "model")
        self.score_hits = counter("score_cache_hits", "Documents whose score was known from an earlier request.", "model")
        self.score_misses = counter("score_cache_misses", "Documents whose score was looked up in vain.", "model")
        self.duration = histogram("request_duration_seconds", "From a request's first byte to its answer.")
        self.tokenize = histogram("request_tokenize_seconds", "Time a request took to become tokens.")
        self.queue = histogram("request_queue_seconds", "Time a request waited for a worker.")
        self.forward = histogram("request_forward_seconds", "Time a request's pairs spent in forward passes.")
        self.documents = histogram("request_documents", "Documents of a request.", DOCUMENTS)
        self.key_requests = counter("key_requests", "Requests by key.", "key") if self._per_key else None
        self.key_tokens = counter("key_tokens", "Tokens by key.", "key") if self._per_key else None

    def _show_zeros(self, models: Sequence[str], dialects: Sequence[str], keys: Sequence[str]) -> None:
        # A predecessor's in-flight requests died with it; its counters live on.
        self.in_flight.set(0)
        for dialect in (*dialects, NO_DIALECT):
            for status in failures.STATUSES:
                self.requests.labels(dialect, str(status))
        for reason in failures.REASONS:
            self.rejections.labels(reason)
        self._models = {model: _ModelSeries(self, model) for model in models}
        for key in keys:
            self.key_seen(key, 0, 0)

    def watch(self, collector: Collector) -> None:
        """Add what `collector` reads to the page."""
        self._page.register(collector)

    def answered(self, result: RerankResult, repeats: int) -> None:
        """Count one ranking; `repeats`: documents that were not scored because they stood there before."""
        self._models[result.model].count(result, repeats)

    def cached(self, model: Model, scores: Generations[Any] | None) -> None:
        """Count what a model's caches found and did not find since they were last looked at."""
        self._models[model.name].look(model.cache, scores)

    def closed(self, dialect: str, status: int) -> None:
        """Count one HTTP answer on a rerank path."""
        self.requests.labels(dialect, str(status)).inc()

    def key_seen(self, key: str | None, requests: int, tokens: int) -> None:
        """Count a key's use, where that is asked for."""
        if self.key_requests is not None and self.key_tokens is not None and key is not None:
            self.key_requests.labels(key).inc(requests)
            self.key_tokens.labels(key).inc(tokens)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page in the format that `accept` asks for, and its media type. Takes milliseconds: not for the event loop."""
        encode, media_type = choose_encoder(accept)
        return encode(self._page), media_type


class _ModelSeries:
    """One model's series, looked up once."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.pairs = metrics.pairs.labels(model)
        self.tokens = metrics.tokens.labels(model)
        self.truncations = metrics.truncations.labels(model)
        self.repeats = metrics.repeats.labels(model)
        self.failed_documents = metrics.failed_documents.labels(model)
        self.duration = metrics.duration.labels(model)
        self.tokenize = metrics.tokenize.labels(model)
        self.queue = metrics.queue.labels(model)
        self.forward = metrics.forward.labels(model)
        self.documents = metrics.documents.labels(model)

        self._caches = (_CacheSeries(metrics.token_hits.labels(model), metrics.token_misses.labels(model)),
                        _CacheSeries(metrics.score_hits.labels(model), metrics.score_misses.labels(model)))  # fmt: skip

    def look(self, *caches: Generations[Any] | None) -> None:
        for series, cache in zip(self._caches, caches, strict=True):
            if cache is not None:
                series.look(cache)

    def count(self, result: RerankResult, repeats: int) -> None:
        documents, timings = len(result.raw), result.timings
        self.pairs.inc(documents - len(result.errors))
        self.tokens.inc(result.pair_tokens)
        for counter, amount in (
            (self.truncations, int(result.truncated.sum())),
            (self.repeats, repeats),
            (self.failed_documents, len(result.errors)),
        ):
            if amount:
                counter.inc(amount)
        self.documents.observe(documents)
        self.tokenize.observe(timings.tokenize_s)
        self.queue.observe(timings.queue_s)
        self.forward.observe(timings.forward_s)
        self.duration.observe(timings.total_s)


class _CacheSeries:
    """What one cache found, told as it grows."""

    def __init__(self, hits: Counter, misses: Counter) -> None:
        self._told = [(hits, 0), (misses, 0)]

    def look(self, cache: Generations[Any]) -> None:
        for place, now in enumerate((cache.hits, cache.misses)):
            counter, before = self._told[place]
            if now > before:
                counter.inc(now - before)
                self._told[place] = (counter, now)


def _choose_values(index: int, directory: Path | None) -> None:
    """Tell the client library where its values live. It asks its own module variable each time a metric is made."""
    disable_created_metrics()  # several processes' values have no single time of creation
    if directory is None:
        values.ValueClass = values.MutexValue
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    for kind in ("counter", "histogram", "gauge_sum"):
        _reserve(directory / f"{kind}_{index}.db")
    values.ValueClass = values.MultiProcessValue(lambda: index)


def _reserve(path: Path) -> None:
    try:
        create(path, FILE_BYTES)
    except FileExistsError:
        return
    except OSError as error:
        raise StartError(f"cannot write metrics to {path.parent}: {error.strerror}") from error

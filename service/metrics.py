"""Every metric that HTTP processes count: its name, labels and buckets. What workers count is `metrics_engine`'s.

With a directory the numbers live in files there, one per HTTP process index: whichever process answers /metrics tells the sum, and a
successor goes on counting where its predecessor died. Counted on the event loop alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from service import exposition, failures
from service.dialects.errors import TEI_STATUSES
from service.exposition import Family, Kind, Sample, labels
from service.generations import Generations
from service.metrics_table import MetricsTable
from service.models import Model
from service.schemas import RerankResult

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DOCUMENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

NO_DIALECT = "none"
"""Of requests that failed before their dialect was known."""
STATUSES = tuple(sorted({*failures.STATUSES, *TEI_STATUSES}))
"""Every status that a rerank path answers with."""

REQUESTS = ("requests", "HTTP requests to rerank paths, by the client dialect and the status answered.")
REJECTIONS = ("rejections", "Requests that were not answered with a ranking, by reason.")
IN_FLIGHT = ("requests_in_flight", "Requests to rerank paths that are received and not yet answered.")
PER_MODEL = (
    ("pairs", "Pairs of query and document that were answered with a score."),
    ("tokens", "Tokens of those pairs."),
    ("truncations", "Documents that were cut to fit."),
    ("repeated_documents", "Documents that stood in their request before and were scored once."),
    ("failed_documents", "Documents without a finite score (NaN), reported to the caller."),
    ("token_cache_hits", "Documents whose tokens were known from an earlier request."),
    ("token_cache_misses", "Documents whose tokens were looked up in vain."),
    ("score_cache_hits", "Documents whose score was known from an earlier request."),
    ("score_cache_misses", "Documents whose score was looked up in vain."),
)
HISTOGRAMS: tuple[tuple[str, str, Sequence[float]], ...] = (
    ("request_duration_seconds", "From a request's first byte to its answer.", SECONDS),
    ("request_tokenize_seconds", "Time a request took to become tokens.", SECONDS),
    ("request_queue_seconds", "Time a request waited for a worker.", SECONDS),
    ("request_forward_seconds", "Time a request's pairs spent in forward passes.", SECONDS),
    ("request_documents", "Documents of a request.", DOCUMENTS),
)
KEYS = (("key_requests", "Requests by key."), ("key_tokens", "Tokens by key."))


class Source(Protocol):
    """Reads families from somewhere else at every scrape: ours, or the client library's."""

    def collect(self) -> Iterable[Any]:
        """Give all families."""
        ...


class _Counters:
    """One family of counters or gauges: the number of each of its series."""

    def __init__(self, name: tuple[str, str], kind: Kind, written: Sequence[str], first: int) -> None:
        self.name, self.help, self.kind, self.first = f"rerankd_{name[0]}", name[1], kind, first
        shown = self.name + exposition.TOTAL if kind == "counter" else self.name
        self.series = [exposition.series(shown, one) for one in written]

    def family(self, numbers: Sequence[float]) -> Family:
        return Family(self.name, self.help, self.kind, zip(self.series, numbers[self.first : self.first + len(self.series)], strict=True))


class _Histograms:
    """One family of histograms: each has a number for every bucket, not cumulative, and one for its sum."""

    def __init__(self, name: str, help_: str, bounds: Sequence[float], written: Sequence[str], first: int) -> None:
        self.name, self.help, self.bounds, self.first, self.size = f"rerankd_{name}", help_, bounds, first, len(bounds) + 2
        self.series = [exposition.bucket_series(self.name, one, bounds) for one in written]

    def family(self, numbers: Sequence[float]) -> Family:
        samples: list[Sample] = []
        for place, names in enumerate(self.series):
            begin = self.first + place * self.size
            buckets = list(accumulate(numbers[begin : begin + self.size - 1]))
            samples += exposition.bucket_samples(names, buckets, numbers[begin + self.size - 1])
        return Family(self.name, self.help, "histogram", samples)


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
        """Make every series at zero. `directory`: where the processes' files are, None for one process alone; `keys`: count per key.

        Raises StartError.
        """
        self._sources: list[Source] = []
        self._declared: list[str] = []
        self._families: list[_Counters | _Histograms] = []
        answered = [(dialect, status) for dialect in (*dialects, NO_DIALECT) for status in STATUSES]
        requests = self._counters(REQUESTS, [labels(dialect=dialect, status=str(status)) for dialect, status in answered])
        self._requests = {one: requests + place for place, one in enumerate(answered)}
        rejections = self._counters(REJECTIONS, [labels(reason=reason) for reason in failures.REASONS])
        self._rejections = {reason: rejections + place for place, reason in enumerate(failures.REASONS)}
        self._in_flight = self._counters(IN_FLIGHT, [""], "gauge")
        of_models = [labels(model=model) for model in models]
        counters = [self._counters(one, of_models) for one in PER_MODEL]
        histograms = [self._histograms(*one, of_models) for one in HISTOGRAMS]
        self._table = MetricsTable(self._declared, index, directory, named=keys is not None)
        self._numbers = self._table.plain
        self._models = {
            model: _ModelSeries(self._numbers, [first + place for first in counters], [(one, place) for one in histograms])
            for place, model in enumerate(models)
        }
        self._numbers[self._in_flight] = 0.0  # a predecessor's in-flight requests died with it; its counters live on
        self._per_key = keys is not None
        for key in keys or ():
            self.key_seen(key, 0, 0)

    def _counters(self, name: tuple[str, str], written: Sequence[str], kind: Kind = "counter") -> int:
        """Declare counters; returns the place of the first."""
        family = _Counters(name, kind, written, len(self._declared))
        self._families.append(family)
        self._declared += family.series
        return family.first

    def _histograms(self, name: str, help_: str, bounds: Sequence[float], written: Sequence[str]) -> _Histograms:
        family = _Histograms(name, help_, bounds, written, len(self._declared))
        self._families.append(family)
        self._declared += [series for names in family.series for series in names[:-1]]
        return family

    def watch(self, source: Source) -> None:
        """Add what `source` reads to the page."""
        self._sources.append(source)

    def begun(self) -> None:
        """Count a request in flight."""
        self._numbers[self._in_flight] += 1.0

    def closed(self, dialect: str, status: int, reason: str = "") -> None:
        """Count one HTTP answer on a rerank path, and why it is no ranking; it is in flight no more."""
        self._numbers[self._in_flight] -= 1.0
        self._numbers[self._requests[dialect or NO_DIALECT, status]] += 1.0
        if reason:
            self._numbers[self._rejections[reason]] += 1.0

    def answered(self, result: RerankResult, repeats: int) -> None:
        """Count one ranking; `repeats`: documents that were not scored because they stood there before."""
        self._models[result.model].count(result, repeats)

    def cached(self, model: Model, scores: Generations[Any] | None) -> None:
        """Count what a model's caches found and did not find since they were last looked at."""
        self._models[model.name].look(model.cache, scores)

    def key_seen(self, key: str | None, requests: int, tokens: int) -> None:
        """Count a key's use, where that is asked for."""
        if self._per_key and key is not None:
            self._table.add_named(key, requests, tokens)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the page in the format that `accept` asks for, and its media type. Takes about a millisecond."""
        media_type = exposition.media_type(accept)
        return exposition.render(self._all(), media_type), media_type

    def _all(self) -> Iterable[Family]:
        numbers = self._table.sums()
        for one in self._families:
            yield one.family(numbers)
        if self._per_key:
            named = self._table.named()
            for place, (name, help_) in enumerate(KEYS):
                family = _Counters((name, help_), "counter", [labels(key=key) for key in named], 0)
                yield family.family([both[place] for both in named.values()])
        for source in self._sources:
            for found in source.collect():
                yield found if isinstance(found, Family) else exposition.from_library(found)


class _ModelSeries:
    """One model's numbers: where in `numbers` its counters are, in the order of PER_MODEL, and its histograms, in that of HISTOGRAMS."""

    def __init__(self, numbers: memoryview[float], counters: Sequence[int], histograms: Sequence[tuple[_Histograms, int]]) -> None:
        self._numbers = numbers
        self._pairs, self._tokens, self._cuts, self._repeats, self._failed, *self._caches = counters
        self._histograms = [(one.bounds, one.first + place * one.size, one.size - 1) for one, place in histograms]
        self._told = [0] * len(self._caches)

    def look(self, *caches: Generations[Any] | None) -> None:
        """Count what caches found since the last look."""
        found = [number for cache in caches for number in ((cache.hits, cache.misses) if cache is not None else (0, 0))]
        if found != self._told:
            for place, now, before in zip(self._caches, found, self._told, strict=True):
                self._numbers[place] += max(0, now - before)
            self._told = found

    def count(self, result: RerankResult, repeats: int) -> None:
        """Count one ranking."""
        numbers, timings, documents = self._numbers, result.timings, len(result.raw)
        numbers[self._pairs] += documents - len(result.errors)
        numbers[self._tokens] += result.pair_tokens
        numbers[self._cuts] += np.count_nonzero(result.truncated)
        numbers[self._repeats] += repeats
        numbers[self._failed] += len(result.errors)
        observed = (timings.total_s, timings.tokenize_s, timings.queue_s, timings.forward_s, documents)
        for (bounds, first, sum_at), value in zip(self._histograms, observed, strict=True):
            numbers[first + bisect_left(bounds, value)] += 1.0
            numbers[first + sum_at] += value

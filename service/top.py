"""What `rerankd top` shows, worked out from two looks at /metrics and nothing else. Pure: no clock, no HTTP, no terminal in here.

Rates are differences of counters over the time between the looks; a counter that went back (a restart) counts from zero, as in Prometheus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from prometheus_client.parser import text_string_to_metric_families

STAGES = {"total": "request_duration", "tokenize": "request_tokenize", "queue": "request_queue", "forward": "request_forward"}
Labels = frozenset[tuple[str, str]]


class Page(msgspec.Struct, frozen=True):
    """All samples of one look at /metrics, taken at monotonic `at_s`."""

    at_s: float
    samples: Mapping[str, Mapping[Labels, float]]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a name's samples that carry the labels."""
        wanted = set(labels.items())
        return sum(value for given, value in self.samples.get(f"rerankd_{name}", {}).items() if wanted <= given)

    def label(self, name: str, label: str, **labels: str) -> str:
        """Return one label of the first sample that carries the others."""
        wanted = set(labels.items())
        found = (dict(given).get(label, "") for given in self.samples.get(f"rerankd_{name}", {}) if wanted <= given)
        return next(found, "")

    def values(self, name: str, label: str, **labels: str) -> list[str]:
        """Return a label's values, in order."""
        wanted = set(labels.items())
        found = {dict(given).get(label, "") for given in self.samples.get(f"rerankd_{name}", {}) if wanted <= given}
        return sorted(found, key=lambda value: (len(value), value))


class Quantiles(NamedTuple):
    """Seconds; NaN where nothing was observed."""

    p50: float
    p95: float
    p99: float


class Worker(NamedTuple):
    """One worker between two looks."""

    slot: str
    device: str
    state: str
    pairs_per_s: float
    tokens_per_s: float
    busy: float
    fill: float
    padding: float
    memory_bytes: float
    restarts: float
    out_of_memory: float


class Model(NamedTuple):
    """One model between two looks."""

    name: str
    requests_per_s: float
    pairs_per_s: float
    tokens_per_s: float
    truncated: float
    """Share of documents that were cut."""
    reserved_tokens: float
    limit_tokens: float
    waiting_tokens: float
    oldest_wait_s: float
    stages: dict[str, Quantiles]
    workers: list[Worker]


class View(NamedTuple):
    """The whole service between two looks."""

    in_flight: float
    by_status: dict[str, float]
    """Answers per second, by status class: 2xx, 4xx, 429, 5xx."""
    models: list[Model]


def parse(text: str, at_s: float) -> Page:
    """Return a page's samples. Raises ValueError for what is no Prometheus text."""
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Page(at_s, samples)


class Change:
    """Two pages and what lies between them."""

    def __init__(self, before: Page, after: Page) -> None:
        self.before, self.after = before, after
        self.seconds = max(1e-9, after.at_s - before.at_s)

    def more(self, name: str, **labels: str) -> float:
        """Return how much a counter has grown."""
        old, new = self.before.total(name, **labels), self.after.total(name, **labels)
        return new - old if new >= old else new

    def rate(self, name: str, **labels: str) -> float:
        """Return a counter's growth per second."""
        return self.more(name, **labels) / self.seconds

    def quantiles(self, name: str, **labels: str) -> Quantiles:
        """Return a histogram's quantiles over what was observed between the pages, interpolated as histogram_quantile() does."""
        bounds = sorted(float(bound) for bound in self.after.values(f"{name}_bucket", "le", **labels))
        by_bound = {float(bound): bound for bound in self.after.values(f"{name}_bucket", "le", **labels)}
        counts = [self.more(f"{name}_bucket", le=by_bound[bound], **labels) for bound in bounds]
        return Quantiles(*(quantile(share, bounds, counts) for share in (0.5, 0.95, 0.99)))


def quantile(share: float, bounds: list[float], counts: list[float]) -> float:
    """Return the value below which `share` of the observations lie; `counts` are cumulative, the last bound is infinite."""
    if not counts or counts[-1] <= 0:
        return math.nan
    wanted = share * counts[-1]
    index = next(place for place, count in enumerate(counts) if count >= wanted)
    if math.isinf(bounds[index]):
        return bounds[index - 1] if index else math.nan
    lower, under = (bounds[index - 1], counts[index - 1]) if index else (0.0, 0.0)
    return lower + (bounds[index] - lower) * (wanted - under) / max(1e-12, counts[index] - under)


def view(before: Page, after: Page) -> View:
    """Return what happened between two looks, and how things stand at the second."""
    change = Change(before, after)
    models = after.values("queue_limit_tokens", "model")
    return View(after.total("requests_in_flight"), _by_status(change), [_model(change, name) for name in models])


def _by_status(change: Change) -> dict[str, float]:
    rates = dict.fromkeys(("2xx", "4xx", "429", "5xx"), 0.0)
    for status in change.after.values("requests_total", "status"):
        kind = status if status == "429" else f"{status[:1]}xx"
        rates[kind] = rates.get(kind, 0.0) + change.rate("requests_total", status=status)
    return rates


def _model(change: Change, name: str) -> Model:
    now, documents = change.after, change.more("request_documents_sum", model=name)
    return Model(
        name=name,
        requests_per_s=change.rate("request_duration_seconds_count", model=name),
        pairs_per_s=change.rate("pairs_total", model=name),
        tokens_per_s=change.rate("tokens_total", model=name),
        truncated=_share(change.more("truncations_total", model=name), documents),
        reserved_tokens=now.total("queue_reserved_tokens", model=name),
        limit_tokens=now.total("queue_limit_tokens", model=name),
        waiting_tokens=now.total("queue_waiting_tokens", model=name),
        oldest_wait_s=now.total("queue_oldest_wait_seconds", model=name),
        stages={stage: change.quantiles(f"{metric}_seconds", model=name) for stage, metric in STAGES.items()},
        workers=list(_workers(change, name)),
    )


def _workers(change: Change, model: str) -> Iterable[Worker]:
    now = change.after
    for slot in now.values("worker_up", "worker", model=model):
        which = {"model": model, "worker": slot}
        tokens, batches = change.more("worker_tokens_total", **which), change.more("worker_batches_total", **which)
        yield Worker(
            slot=slot,
            device=now.label("worker_info", "device", **which),
            state=now.label("worker_info", "state", **which),
            pairs_per_s=change.rate("worker_pairs_total", **which),
            tokens_per_s=tokens / change.seconds,
            busy=min(1.0, change.rate("worker_busy_seconds_total", **which)),
            fill=_share(tokens, batches * now.total("worker_token_budget", **which)),
            padding=_share(change.more("worker_padded_tokens_total", **which) - tokens, tokens),
            memory_bytes=now.total("worker_memory_bytes", **which),
            restarts=now.total("worker_restarts_total", **which),
            out_of_memory=now.total("worker_out_of_memory_total", **which),
        )


def _share(part: float, whole: float) -> float:
    return max(0.0, part / whole) if whole else 0.0

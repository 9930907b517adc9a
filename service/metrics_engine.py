"""What the queue and its workers count, read from their shared tables at every scrape; the numbers are kept by the engine, not here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from batching.board import BATCH_TOKENS_BOUNDS, FORWARD_SECONDS_BOUNDS, WorkerView
from batching.client import QueueView

Views = Callable[[], Mapping[str, QueueView]]
"""Every served model's queue, by the model's name."""

_QUEUE: tuple[tuple[str, str, Callable[[QueueView], float]], ...] = (
    ("queue_limit_tokens", "Tokens that may be in flight before requests are refused.", lambda v: v.limit_tokens),
    ("queue_reserved_tokens", "Tokens admitted and not yet answered.", lambda v: v.reserved_tokens),
    ("queue_waiting_tokens", "Tokens waiting for a worker.", lambda v: v.waiting_tokens),
    ("queue_waiting_entries", "Entries waiting for a worker.", lambda v: v.waiting_entries),
    ("queue_leased_entries", "Entries that workers are at.", lambda v: v.leased_entries),
    ("queue_oldest_wait_seconds", "How long the oldest waiting entry has waited.", lambda v: v.oldest_wait_s),
    ("queue_drain_tokens_per_second", "Measured rate at which the workers empty the queue.", lambda v: v.drain_tokens_per_s),
)
_WORKER: tuple[tuple[str, str, Callable[[WorkerView], float]], ...] = (
    ("worker_up", "1 while the worker is ready for batches.", lambda w: w.state == "ready"),
    ("worker_busy", "1 while a forward pass is under way.", lambda w: w.forward_running_s > 0.0),
    ("worker_heartbeat_age_seconds", "Since the worker was last heard of.", lambda w: w.heartbeat_age_s),
    ("worker_forward_age_seconds", "Since the worker's last forward pass that succeeded.", lambda w: w.forward_age_s),
    ("worker_token_budget", "Most tokens the worker takes into one batch.", lambda w: w.budget_tokens),
    (
        "worker_batch_fill_ratio",
        "Tokens per batch over the budget, since start.",
        lambda w: _ratio(w.tokens, w.batches * w.budget_tokens),
    ),
    ("worker_memory_bytes", "Device memory the worker's model and batches hold.", lambda w: w.memory_bytes),
)
_WORKER_TOTALS: tuple[tuple[str, str, Callable[[WorkerView], float]], ...] = (
    ("worker_busy_seconds", "Time spent in forward passes.", lambda w: w.busy_s),
    ("worker_restarts", "Times the worker was started again.", lambda w: w.restarts),
    ("worker_batches", "Batches scored.", lambda w: w.batches),
    ("worker_entries", "Entries scored.", lambda w: w.entries),
    ("worker_pairs", "Pairs scored.", lambda w: w.pairs),
    ("worker_tokens", "Real tokens scored.", lambda w: w.tokens),
    ("worker_padded_tokens", "Tokens computed, padding included; over worker_tokens this is the padding ratio.", lambda w: w.padded_tokens),
    ("worker_saved_tokens", "Tokens not computed because their prefix was shared.", lambda w: w.saved_tokens),
    ("worker_out_of_memory", "Batches that had to be halved because the device's memory was full.", lambda w: w.out_of_memory),
    ("worker_nan_scores", "Scores that were not numbers.", lambda w: w.nan_scores),
    ("worker_failures", "Batches that failed.", lambda w: w.failures),
)


class EngineCollector(Collector):  # type: ignore[misc]  # the client library's types are not looked at
    """Gives the queue's and the workers' numbers of every model, whichever HTTP process is asked."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def collect(self) -> Iterable[Metric]:
        """Read every queue once and give all families."""
        views = self._views()
        for name, help_, read in _QUEUE:
            gauge = GaugeMetricFamily(f"rerankd_{name}", help_, labels=["model"])
            for model, view in views.items():
                gauge.add_metric([model], read(view))
            yield gauge
        workers = [([model, str(worker.slot)], worker) for model, view in views.items() for worker in view.workers]
        yield from _families(workers)
        yield _information(workers)
        yield _histogram("worker_batch_tokens", "Real tokens per batch.", workers, BATCH_TOKENS_BOUNDS, _batch_tokens)
        yield _histogram("worker_forward_seconds", "Time per forward pass.", workers, FORWARD_SECONDS_BOUNDS, _forward_seconds)

    def describe(self) -> Iterable[Metric]:
        """Give nothing: the names are fixed here and clash with none."""
        return ()


_Workers = Sequence[tuple[list[str], WorkerView]]


def _families(workers: _Workers) -> Iterable[Metric]:
    for name, help_, read in _WORKER:
        gauge = GaugeMetricFamily(f"rerankd_{name}", help_, labels=["model", "worker"])
        for labels, worker in workers:
            gauge.add_metric(labels, float(read(worker)))
        yield gauge
    for name, help_, read in _WORKER_TOTALS:
        counter = CounterMetricFamily(f"rerankd_{name}", help_, labels=["model", "worker"])
        for labels, worker in workers:
            counter.add_metric(labels, read(worker))
        yield counter


def _information(workers: _Workers) -> Metric:
    about = GaugeMetricFamily(
        "rerankd_worker_info", "What the worker runs on; always 1.", labels=["model", "worker", "device", "dtype", "backend", "state"]
    )
    for labels, worker in workers:
        about.add_metric([*labels, worker.device, worker.dtype, worker.backend, worker.state], 1)
    return about


def _histogram(
    name: str, help_: str, workers: _Workers, bounds: Sequence[float], read: Callable[[WorkerView], tuple[list[int], float]]
) -> Metric:
    histogram = HistogramMetricFamily(f"rerankd_{name}", help_, labels=["model", "worker"])
    limits = [*(floatToGoString(bound) for bound in bounds), "+Inf"]
    for labels, worker in workers:
        counts, total = read(worker)
        histogram.add_metric(labels, list(zip(limits, counts, strict=True)), total)
    return histogram


def _batch_tokens(worker: WorkerView) -> tuple[list[int], float]:
    return worker.batch_tokens_buckets, float(worker.tokens)


def _forward_seconds(worker: WorkerView) -> tuple[list[int], float]:
    return worker.forward_seconds_buckets, worker.forward_seconds_sum


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0

"""What the queue and its workers count, read from their shared tables at every scrape; the numbers are kept by the engine, not here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from batching.board import BATCH_TOKENS_BOUNDS, FORWARD_SECONDS_BOUNDS
from batching.client import QueueView
from batching.worker_view import WorkerView
from service.exposition import TOTAL, Family, Sample, bucket_samples, bucket_series, labels, series

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
    (
        "worker_crash_looping",
        "1 while the worker is given up after too many crashes in a row.",
        lambda w: w.state == "failed",
    ),
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
    ("worker_device_free_bytes", "Memory of its device, or machine, that is free, whoever has the rest.", lambda w: w.device_free_bytes),
    ("worker_device_memory_bytes", "Memory of its device; of the machine or its control group on a CPU.", lambda w: w.device_total_bytes),
)
_WORKER_TOTALS: tuple[tuple[str, str, Callable[[WorkerView], float]], ...] = (
    ("worker_busy_seconds", "Time spent in forward passes.", lambda w: w.busy_s),
    ("worker_restarts", "Times the worker was started again.", lambda w: w.restarts),
    ("worker_crash_loops", "Times the worker was given up after too many crashes in a row.", lambda w: w.crash_loops),
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


class EngineCollector:
    """Gives the queue's and the workers' numbers of every model, whichever HTTP process is asked."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def collect(self) -> Iterable[Family]:
        """Read every queue once and give all families."""
        views = self._views()
        for name, help_, read in _QUEUE:
            found = [(series(f"rerankd_{name}", labels(model=model)), read(view)) for model, view in views.items()]
            yield Family(f"rerankd_{name}", help_, "gauge", found)
        workers = [(labels(model=model, worker=str(worker.slot)), worker) for model, view in views.items() for worker in view.workers]
        yield from _families(workers)
        yield _information(views)
        yield _histogram("worker_batch_tokens", "Real tokens per batch.", workers, BATCH_TOKENS_BOUNDS, _batch_tokens)
        yield _histogram("worker_forward_seconds", "Time per forward pass.", workers, FORWARD_SECONDS_BOUNDS, _forward_seconds)


_Workers = Sequence[tuple[str, WorkerView]]
"""Each worker, behind its labels."""


def _families(workers: _Workers) -> Iterable[Family]:
    for name, help_, read in _WORKER:
        name = f"rerankd_{name}"
        yield Family(name, help_, "gauge", [(f"{name}{{{written}}}", float(read(worker))) for written, worker in workers])
    for name, help_, read in _WORKER_TOTALS:
        name = f"rerankd_{name}"
        yield Family(name, help_, "counter", [(f"{name}{TOTAL}{{{written}}}", read(worker)) for written, worker in workers])


def _information(views: Mapping[str, QueueView]) -> Family:
    name = "rerankd_worker_info"
    samples: list[Sample] = []
    for model, view in views.items():
        for one in view.workers:
            about = {"backend": one.backend, "device": one.device, "dtype": one.dtype}
            samples.append((series(name, labels(**about, model=model, state=one.state, worker=str(one.slot))), 1.0))
    return Family(name, "What the worker runs on; always 1.", "gauge", samples)


def _histogram(
    name: str, help_: str, workers: _Workers, bounds: Sequence[float], read: Callable[[WorkerView], tuple[list[int], float]]
) -> Family:
    name = f"rerankd_{name}"
    samples: list[Sample] = []
    for written, worker in workers:
        counts, total = read(worker)
        samples += bucket_samples(bucket_series(name, written, bounds), counts, total)
    return Family(name, help_, "histogram", samples)


def _batch_tokens(worker: WorkerView) -> tuple[list[int], float]:
    return worker.batch_tokens_buckets, float(worker.tokens)


def _forward_seconds(worker: WorkerView) -> tuple[list[int], float]:
    return worker.forward_seconds_buckets, worker.forward_seconds_sum


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0

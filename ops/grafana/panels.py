"""Every panel of the dashboard and its queries, declared once: the dashboard's JSON, its picture and the tests come from here.

$job, $instance, $model and $__rate_interval are Grafana's variables. No rendering in here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

SERVICE = 'job="$job", instance=~"$instance"'
MODEL = f'{SERVICE}, model=~"$model"'
RATE = "[$__rate_interval]"

Kind = Literal["timeseries", "heatmap", "table"]


class Query(NamedTuple):
    """A PromQL expression and what its series are called."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel: its queries, and how their values are shown. `width` of 24."""

    title: str
    help: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    stacked: bool = False
    top: float | None = None
    """The axis' end, where values have a natural one."""


def rate(metric: str, labels: str = MODEL, by: str = "model") -> str:
    """PromQL for a counter's growth per second."""
    return f"sum by ({by}) (rate(rerankd_{metric}{{{labels}}}{RATE}))"


def quantile(share: float, metric: str, by: str = "model") -> str:
    """PromQL for a histogram's quantile."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate(rerankd_{metric}_bucket{{{MODEL}}}{RATE})))"


def gauge(metric: str, labels: str = MODEL) -> str:
    """PromQL for a gauge as it is."""
    return f"rerankd_{metric}{{{labels}}}"


def mean(metric: str) -> str:
    """PromQL for a histogram's mean."""
    return f"{rate(metric + '_sum', by='model')} / ({rate(metric + '_count', by='model')} > 0)"


def quantiles(metric: str, by: str = "model", legend: str = "{{model}}") -> tuple[Query, ...]:
    """Queries for the quantiles that matter."""
    return tuple(Query(quantile(share, metric, by), f"{legend} p{share * 100:.0f}") for share in (0.5, 0.95, 0.99))


def increase(metric: str, legend: str) -> Query:
    """A query for what happened within the interval that is looked at."""
    return Query(f"increase(rerankd_{metric}{{{MODEL}}}{RATE})", legend)


WORKER = "{{model}} {{worker}}"
PLACE = "{{instance}} {{model}}"
POSSIBLE = f"sum by (model, worker) (rate(rerankd_worker_batches_total{{{MODEL}}}{RATE}) * rerankd_worker_token_budget{{{MODEL}}})"
"""Tokens that the batches could have held."""

TRAFFIC = (
    Panel("Answers", "HTTP answers on rerank paths, by status.", "reqps",
          (Query(rate("requests_total", SERVICE, "status"), "{{status}}"),), stacked=True),
    Panel("Pairs", "Pairs of query and document scored.", "cps", (Query(rate("pairs_total"), "{{model}}"),)),
    Panel("Tokens", "Real tokens of those pairs.", "cps", (Query(rate("tokens_total"), "{{model}}"),)),
    Panel("Dialects", "Which API callers speak.", "reqps",
          (Query(f"{rate('requests_total', SERVICE, 'dialect')} > 0", "{{dialect}}"),), stacked=True),
    Panel("Documents of a request", "", "short", quantiles("request_documents")),
    Panel("In flight", "Requests received and not yet answered.", "short", (Query(gauge("requests_in_flight", SERVICE), "{{instance}}"),)),
)  # fmt: skip

LATENCY = (
    Panel("Latency", "From a request's first byte to its answer.", "s", quantiles("request_duration_seconds")),
    Panel("Where the time goes", "Mean time per stage; they follow one another.", "s",
          tuple(Query(mean(f"request_{stage}_seconds"), f"{{{{model}}}} {stage}") for stage in ("tokenize", "queue", "forward")),
          stacked=True),
    Panel("Slower than 1 s", "Share of rankings over the latency objective; 1 % is its budget.", "percentunit",
          (Query('job_model:rerankd_slow:ratio_rate5m{job="$job", model=~"$model"}', "{{model}}"),)),
    Panel("Latency, spread", "Every request by its latency.", "s",
          (Query(f"sum by (le) (increase(rerankd_request_duration_seconds_bucket{{{MODEL}}}{RATE}))", "{{le}}"),), kind="heatmap"),
    Panel("Time in the queue", "Waiting for a worker.", "s", quantiles("request_queue_seconds")),
    Panel("Time in forward passes", "Per request.", "s", quantiles("request_forward_seconds")),
)  # fmt: skip

QUEUE = (
    Panel("Queue filled", "Tokens admitted and not yet answered, of the limit. At 100 % requests are refused (429).", "percentunit",
          (Query('instance_model:rerankd_queue:fill_ratio{job="$job", instance=~"$instance", model=~"$model"}', PLACE),), top=1.0),
    Panel("Tokens in the queue", "Admitted, and of these waiting for a worker.", "short",
          (Query(gauge("queue_reserved_tokens"), f"{PLACE} admitted"), Query(gauge("queue_waiting_tokens"), f"{PLACE} waiting"))),
    Panel("Drain rate", "Measured rate at which the workers empty the queue; Retry-After comes from it.", "cps",
          (Query(gauge("queue_drain_tokens_per_second"), PLACE),)),
    Panel("Oldest entry", "How long the oldest waiting entry has waited.", "s", (Query(gauge("queue_oldest_wait_seconds"), PLACE),)),
    Panel("Entries", "Waiting for workers, and at them.", "short",
          (Query(gauge("queue_waiting_entries"), f"{PLACE} waiting"), Query(gauge("queue_leased_entries"), f"{PLACE} leased"))),
    Panel("Refused", "Requests without a ranking, by reason.", "reqps",
          (Query(rate("rejections_total", SERVICE, "reason"), "{{reason}}"),), stacked=True),
)  # fmt: skip

WORKERS = (
    Panel("Ready workers", "", "short", (Query(f"sum by (instance, model) ({gauge('worker_up')})", PLACE),)),
    Panel("Busy", "Time spent in forward passes; at 100 % the device is the limit.", "percentunit",
          (Query(f"rate(rerankd_worker_busy_seconds_total{{{MODEL}}}{RATE})", WORKER),), top=1.0),
    Panel("Tokens per worker", "", "cps", (Query(f"rate(rerankd_worker_tokens_total{{{MODEL}}}{RATE})", WORKER),)),
    Panel("Tokens of a batch", "Load itself makes batches grow.", "short", quantiles("worker_batch_tokens", "model, worker", WORKER)),
    Panel("Forward pass", "", "s", quantiles("worker_forward_seconds", "model, worker", WORKER)),
    Panel("Batch fill", "Tokens of a batch over the token budget.", "percentunit",
          (Query(f"{rate('worker_tokens_total', by='model, worker')} / ({POSSIBLE} > 0)", WORKER),), top=1.0),
    Panel("Padding", "Tokens computed in vain, over real ones; 0 where the model packs.", "percentunit",
          (Query(f"{rate('worker_padded_tokens_total')} / ({rate('worker_tokens_total')} > 0) - 1", "{{model}}"),)),
    Panel("Token budget", "Most tokens of one batch; it shrinks when memory runs out and recovers.", "short",
          (Query(gauge("worker_token_budget"), WORKER),)),
    Panel("Memory", "What the worker's model and batches hold on its device.", "bytes", (Query(gauge("worker_memory_bytes"), WORKER),)),
    Panel("Device memory free", "Of the worker's device, or of the machine on a CPU, whoever has the rest.", "percentunit",
          (Query('worker:rerankd_device_free:ratio{job="$job", instance=~"$instance", model=~"$model"}', WORKER),), top=1.0),
    Panel("Last heard of", "Since the last heartbeat.", "s", (Query(gauge("worker_heartbeat_age_seconds"), WORKER),)),
    Panel("Trouble", "Restarts, and batches that failed or ran out of memory.", "short",
          (increase("worker_restarts_total", f"{WORKER} restarts"), increase("worker_failures_total", f"{WORKER} failures"),
           increase("worker_out_of_memory_total", f"{WORKER} out of memory"),
           Query(f"increase(rerankd_http_process_restarts_total{{{SERVICE}}}{RATE})", "HTTP process {{process}} {{reason}}")), width=16),
    Panel("What runs", "", "short", (Query(gauge("worker_info"), ""),), kind="table", width=24),
)  # fmt: skip


def hit_ratio(cache: str) -> Query:
    """A query for the share of look-ups that a cache answered."""
    hits, misses = (rate(f"{cache}_cache_{what}_total") for what in ("hits", "misses"))
    return Query(f"{hits} / ({hits} + {misses} > 0)", "{{model}} " + cache + "s")


SAVED = (
    Panel("Cache hits", "Share of documents whose tokens, or score, were known from an earlier request.", "percentunit",
          (hit_ratio("token"),), top=1.0),
    Panel("Cache look-ups", "Documents looked up, per second, by cache and outcome.", "cps",
          (Query(rate("token_cache_hits_total"), "{{model}} tokens known"),
           Query(rate("token_cache_misses_total"), "{{model}} tokens new"),
           Query(rate("score_cache_hits_total"), "{{model}} scores known"),
           Query(rate("score_cache_misses_total"), "{{model}} scores new"))),
    Panel("Repeated documents", "Stood in their request before, and were scored once.", "cps",
          (Query(rate("repeated_documents_total"), "{{model}}"),)),
    Panel("Tokens not computed", "Since a prefix was shared by the documents of a request.", "cps",
          (Query(rate("worker_saved_tokens_total"), "{{model}}"),)),
    Panel("Documents cut", "Share of documents longer than the model or MAX_LENGTH takes.", "percentunit",
          (Query('job_model:rerankd_truncated:ratio_rate30m{job="$job", model=~"$model"}', "{{model}}"),)),
)  # fmt: skip

ERRORS = (
    Panel("Errors", "Answers that are our fault (5xx).", "percentunit",
          (Query('job:rerankd_errors:ratio_rate5m{job="$job"}', "5xx"),)),
    Panel("Failed documents", "Scores that were not numbers; the caller is told which.", "short",
          (increase("failed_documents_total", "{{model}}"),)),
    Panel("Up", "Whether instances answer /metrics.", "short", (Query('up{job="$job", instance=~"$instance"}', "{{instance}}"),), top=1.0),
)  # fmt: skip

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Traffic", TRAFFIC),
    ("Latency by stage", LATENCY),
    ("Queue and admission", QUEUE),
    ("Workers and devices", WORKERS),
    ("Caches, saved work and cut documents", SAVED),
    ("Errors", ERRORS),
)


def panels() -> Iterator[Panel]:
    """Every panel, in order."""
    for _, found in ROWS:
        yield from found


def filled(expr: str, *, job: str = "rerankd", instance: str = ".*", model: str = ".*", interval: str = "1m") -> str:
    """Return an expression with Grafana's variables replaced, as Prometheus takes it."""
    values = {"$__rate_interval": interval, "$job": job, "$instance": instance, "$model": model}
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr

"""Whether this service lives, may be sent work, and what it is: decided from the queues' views, no clock and no HTTP in here.

Live: this process answers. Ready: every model has a warmed-up worker that was heard of just now and is not stuck, and nothing is stopping.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import msgspec

from batching.client import QueueView
from batching.worker_view import WorkerView
from service.models import Model

FRESH_S = 3.0
"""A worker beats every 50 ms; one that was silent for this long is not relied upon."""


FORWARD_FRESH_S = 45.0
"""A worker that scores, or exercises its device while it is idle, has a forward that succeeded at least every ten seconds."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether to send work, and in a line why not."""

    status: str
    """"ok", "starting", "draining" or "unhealthy"."""
    detail: str = ""

    @property
    def ready(self) -> bool:
        """Whether to send work."""
        return self.status == "ok"


def judge(models: list[str], views: Mapping[str, QueueView], *, draining: bool, forward_limit_s: float, trouble: str = "") -> Verdict:
    """Say whether every model has a worker to rely on. `trouble`: what is wrong with the service besides."""
    if draining:
        return Verdict("draining", "the service is stopping")
    for model in models:
        view = views.get(model)
        if view is None:
            return Verdict("starting", f"{model}: the queue is not open yet")
        if not any(reliable(worker, forward_limit_s) for worker in view.workers):
            return _why_not(model, view.workers)
    return Verdict("unhealthy", trouble) if trouble else Verdict("ok")


def describe(verdict: Verdict, models: list[Model], views: Mapping[str, QueueView]) -> dict[str, Any]:
    """Return the body of /health: every key that some client reads."""
    first = models[0]
    return {
        "status": verdict.status,
        **({"detail": verdict.detail} if verdict.detail else {}),
        "model_loaded": verdict.ready or verdict.status == "draining",
        "model": first.name,
        "model_name": first.name,
        "device": _devices(views.get(first.name)),
        "version": version(),
        "models": {model.name: _workers(views.get(model.name)) for model in models},
    }


def version() -> str:
    """Return the installed version of rerankd."""
    try:
        return importlib.metadata.version("rerankd")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def reliable(worker: WorkerView, forward_limit_s: float) -> bool:
    """Whether requests may count on a worker: warmed up, heard of just now, and a forward in time, under way or lately."""
    if not worker.ready(FRESH_S):
        return False
    if worker.forward_running_s:
        return worker.forward_running_s <= forward_limit_s
    return worker.forward_age_s <= FORWARD_FRESH_S


def _why_not(model: str, workers: list[WorkerView]) -> Verdict:
    told = [f"worker {worker.slot} {_complaint(worker)}" for worker in workers]
    status = "starting" if any(worker.state in {"empty", "starting"} and not worker.restarts for worker in workers) else "unhealthy"
    return Verdict(status, f"{model}: {'; '.join(told) or 'no workers'}")


def _complaint(worker: WorkerView) -> str:
    if worker.state != "ready":
        return f"is {worker.state}" + (f" ({worker.reason})" if worker.reason else "")
    if worker.heartbeat_age_s > FRESH_S:
        return f"was last heard of {worker.heartbeat_age_s:.0f} s ago"
    if not worker.forward_running_s:
        return f"has had no forward that succeeded for {worker.forward_age_s:.0f} s"
    return f"has been at one batch for {worker.forward_running_s:.0f} s"


def _devices(view: QueueView | None) -> str:
    found = dict.fromkeys(worker.device for worker in view.workers if worker.device) if view else {}
    return ",".join(found) or "unknown"


def _workers(view: QueueView | None) -> dict[str, int]:
    workers = view.workers if view else []
    return {"workers": len(workers), "ready": sum(worker.ready(FRESH_S) for worker in workers)}

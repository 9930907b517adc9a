"""Whether the supervisor calls the service healthy, and what it says of its load."""

from __future__ import annotations

import math

import pytest

from batching.board import BATCH_TOKENS_BOUNDS, FORWARD_SECONDS_BOUNDS
from batching.worker_view import WorkerView
from service.notify import Notifier
from service.standing import ModelStanding, Reporter, Standing, line, loading, short


def worker(**changes: object) -> WorkerView:
    facts: dict[str, object] = {
        "slot": 0, "state": "ready", "pid": 1, "device": "cpu", "dtype": "float32", "backend": "fake", "reason": "", "heartbeat_age_s": 0.1,
        "forward_age_s": 1.0, "forward_running_s": 0.0, "idle": True, "budget_tokens": 1024, "busy_s": 0.0, "batches": 0, "entries": 0,
        "pairs": 0, "tokens": 0, "padded_tokens": 0, "saved_tokens": 0, "out_of_memory": 0, "nan_scores": 0, "failures": 0, "restarts": 0,
        "memory_bytes": 0, "batch_tokens_buckets": [0] * (len(BATCH_TOKENS_BOUNDS) + 1), "forward_seconds_sum": 0.0,
        "forward_seconds_buckets": [0] * (len(FORWARD_SECONDS_BOUNDS) + 1),
    }  # fmt: skip
    return WorkerView(**(facts | changes))  # type: ignore[arg-type]


def standing(*workers: WorkerView, http_ready: int = 2) -> Standing:
    model = ModelStanding(workers=workers, reserved_tokens=126_000, limit_tokens=4_200_000)
    return Standing(models=[model], http_processes=2, http_ready=http_ready, forward_limit_s=60.0)


GOOD = worker()


@pytest.mark.parametrize(
    ("now", "healthy"),
    [
        (standing(GOOD, GOOD), True),
        (standing(GOOD, worker(state="failed")), True),
        (standing(worker(state="starting")), False),
        (standing(worker(heartbeat_age_s=10.0)), False),
        (standing(worker(forward_running_s=61.0)), False),
        (standing(worker(forward_age_s=60.0)), False),
        (standing(GOOD, http_ready=1), False),
        (Standing(models=[], http_processes=2, http_ready=2, forward_limit_s=60.0), False),
    ],
)
def test_healthy_means_that_requests_are_answered(now: Standing, healthy: bool) -> None:
    """One reliable worker per model and every HTTP process, or the service is not healthy."""
    assert now.healthy is healthy


def test_every_model_needs_a_worker() -> None:
    """A model without a worker is not covered by another model's."""
    both = [ModelStanding(workers=[one], reserved_tokens=0, limit_tokens=1) for one in (GOOD, worker(state="starting"))]
    assert not Standing(models=both, http_processes=1, http_ready=1, forward_limit_s=60.0).healthy


def test_the_line_tells_load_and_trouble() -> None:
    """What `systemctl status` shows."""
    assert line(standing(GOOD, GOOD), 412.4) == "2 of 2 workers ready, 2 of 2 HTTP processes, 412 pairs/s, queue 3 % of 4.2M tokens"
    assert line(standing(worker(state="failed")), 0.0).startswith("UNHEALTHY: 0 of 1 workers ready")
    assert loading(standing(GOOD, worker(state="starting"))) == "starting: 1 of 2 workers warmed up, 2 of 2 HTTP processes"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (9999, "9999"), (12_345, "12.3k"), (4_194_304, "4.19M"), (2e9, "2G"), (math.pi, "3")]
)
def test_numbers_are_short(number: float, text: str) -> None:
    """At most four digits and a suffix."""
    assert short(number) == text


class Heard(Notifier):
    """A notifier that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__({"WATCHDOG_USEC": "1000000"})
        self.said: list[str] = []

    @property
    def listening(self) -> bool:
        return True

    def _send(self, message: str) -> None:
        self.said.append(message)


def test_the_watchdog_starves_while_the_service_is_ill() -> None:
    """WATCHDOG is sent while healthy, and never while starting or ill."""
    heard = Heard()
    reporter = Reporter(heard)
    reporter.tick(standing(GOOD), 0.0, ready=False)
    assert not any("WATCHDOG" in said for said in heard.said)
    reporter.tick(standing(GOOD), 1.0, ready=True)
    assert heard.said[-1] == "WATCHDOG=1"
    heard.said.clear()
    reporter.tick(standing(worker(heartbeat_age_s=9.0)), 2.0, ready=True)
    assert [said.partition(" ")[0] for said in heard.said] == ["STATUS=UNHEALTHY:"]


def test_the_rate_is_measured_between_ticks() -> None:
    """Pairs per second come from two looks, one second apart at least."""
    heard = Heard()
    reporter = Reporter(heard)
    reporter.tick(standing(worker(pairs=100)), 10.0, ready=True)
    assert not reporter.due(10.5)
    assert reporter.due(11.0)
    reporter.tick(standing(worker(pairs=500)), 12.0, ready=True)
    assert any("200 pairs/s" in said for said in heard.said)

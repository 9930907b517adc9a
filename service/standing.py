"""How the whole service stands, as its supervisor sees it: healthy or not, and one line of load for `systemctl status`.

Pure functions of what the supervisor read, and `Reporter`, which tells the service manager once a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from batching.worker_view import WorkerView
from service.health import reliable
from service.notify import Notifier

EVERY_S = 1.0
MORE_S = 60.0
"""While a model loads, the manager is asked again and again for this much more time."""


class ModelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One model's queue and workers at one moment."""

    workers: Sequence[WorkerView]
    reserved_tokens: int
    limit_tokens: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The service at one moment. `http_ready`: HTTP processes whose event loop was heard of just now."""

    models: Sequence[ModelStanding]
    http_processes: int
    http_ready: int
    forward_limit_s: float

    @property
    def pairs(self) -> int:
        """Pairs scored since start."""
        return sum(worker.pairs for model in self.models for worker in model.workers)

    @property
    def healthy(self) -> bool:
        """Whether requests are answered: every model has a worker to rely on and every HTTP process runs."""
        served = all(any(reliable(worker, self.forward_limit_s) for worker in model.workers) for model in self.models)
        return bool(self.models) and served and self.http_ready == self.http_processes


def line(now: Standing, pairs_per_s: float) -> str:
    """Return the line of load: `2 of 2 workers ready, 2 of 2 HTTP processes, 412 pairs/s, queue 3 % of 4.2M tokens`."""
    workers = [worker for model in now.models for worker in model.workers]
    ready = sum(reliable(worker, now.forward_limit_s) for worker in workers)
    queues = ", ".join(f"queue {_percent(model)} % of {short(model.limit_tokens)} tokens" for model in now.models)
    http = f"{now.http_ready} of {now.http_processes} HTTP processes"
    trouble = "" if now.healthy else "UNHEALTHY: "
    return f"{trouble}{ready} of {len(workers)} workers ready, {http}, {short(pairs_per_s)} pairs/s, {queues}"


def loading(now: Standing) -> str:
    """Return the line that is shown until the service is ready."""
    states = [worker.state for model in now.models for worker in model.workers]
    return f"starting: {states.count('ready')} of {len(states)} workers warmed up, {now.http_ready} of {now.http_processes} HTTP processes"


def short(number: float) -> str:
    """Return a number as a person reads it: 950, 12.3k, 4.2M."""
    for limit, divisor, suffix in ((1e4, 1.0, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if abs(number) < limit:
            return f"{number / divisor:.3g}{suffix}" if divisor > 1 else f"{number:.0f}"
    return f"{number / 1e9:.3g}G"


class Reporter:
    """Tells the service manager how the service stands; `tick` may be called as often as one likes."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._next_at = float("-inf")
        self._last: tuple[float, int] | None = None

    def due(self, now: float) -> bool:
        """Whether it is time to look again; looking costs more than asking."""
        return self._notifier.listening and now >= self._next_at

    def tick(self, standing: Standing, now: float, *, ready: bool) -> None:
        """Say how the service stands, and feed the watchdog if it is really healthy. `now`: monotonic seconds."""
        self._next_at = now + EVERY_S
        rate, self._last = self._rate(standing.pairs, now), (now, standing.pairs)
        if not ready:
            self._notifier.starting(loading(standing), MORE_S)
            return
        self._notifier.status(line(standing, rate))
        if standing.healthy:
            self._notifier.feed(now)

    def _rate(self, pairs: int, now: float) -> float:
        if self._last is None or now <= self._last[0]:
            return 0.0
        return (pairs - self._last[1]) / (now - self._last[0])


def _percent(model: ModelStanding) -> int:
    return round(100 * model.reserved_tokens / max(1, model.limit_tokens))

"""What one HTTP process holds while it serves, made once by `app.create_app` and handed to the routes through the application's state."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from dataclasses import dataclass

from litestar import Litestar

from batching.errors import StartError
from service import health
from service.auth import KeyRing
from service.health import Verdict
from service.held import Bound
from service.metrics import Metrics
from service.metrics_processes import ProcessCollector
from service.models import Models
from service.processes import Processes
from service.rate_limits import RateLimits
from service.rerank import Reranker
from service.settings import Settings
from service.tracing import Tracing

log = logging.getLogger("rerankd.http")


@dataclass(slots=True)
class State:
    """One HTTP process's parts."""

    settings: Settings
    models: Models
    metrics: Metrics
    keys: KeyRing
    rates: RateLimits
    bodies: Bound
    reranker: Reranker
    threads: Executor
    tracing: Tracing | None = None
    processes: Processes | None = None
    """How the HTTP processes beside this one are; None where there are none."""
    draining: bool = False

    @classmethod
    def of(cls, app: Litestar) -> State:
        """Return an application's state."""
        state: State = app.state.rerankd
        return state

    def verdict(self) -> Verdict:
        """Say whether to send work here."""
        views, limit_s = self.models.views(), self.settings.forward_limit
        trouble = self.processes.trouble() if self.processes is not None else ""
        return health.judge(self.models.names, views, draining=self.draining, forward_limit_s=limit_s, trouble=trouble)

    def watch(self, processes: Processes) -> None:
        """Heed how the HTTP processes are: for readiness, and in the metrics."""
        self.processes = processes
        self.metrics.watch(ProcessCollector(processes))

    def drain(self) -> None:
        """Say from now on that no more work should be sent; what comes is still done."""
        self.draining = True

    def reload(self) -> None:
        """Read the keys again; a file that can't be read leaves them as they were."""
        try:
            self.keys.reload()
        except StartError as error:
            log.error("keys were not reloaded: %s", error)
        else:
            log.info("keys reloaded: %d", len(self.keys.names))

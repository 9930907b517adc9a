"""`rerankd serve`: parent of the HTTP processes and of every model's workers. It makes the runtime directory, starts, watches, restarts,
stops in order, and removes the directory. It serves nothing itself, so that it has little to die of.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from batching.errors import StartError
from batching.families.card import ModelCard
from batching.lifeline import Lifeline
from batching.pool import Pool, WorkerSpec
from batching.queue_files import make_queue, queue_shape
from batching.restart import Policy
from batching.worker_view import WorkerView
from service import activation, listen
from service.http_pool import HttpPool
from service.http_process import ServedPlan, ServicePlan, metrics_directory, plan_file
from service.images.gallery import shared_bytes
from service.notify import Notifier
from service.runtime_dir import RuntimeDir, base
from service.settings import Settings
from service.standing import ModelStanding, Reporter, Standing, loading

log = logging.getLogger("rerankd.supervisor")

POLL_S = 0.05
STOP_WORKERS_S = 10.0
SLOW_START_S = 60.0
"""A start that takes longer says in the log how far it is, as often as that: what hangs is given up much later."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ModelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A model to serve and the workers that serve it."""

    card: ModelCard
    workers: list[WorkerSpec]


class Supervisor:
    """One service, from start to stop."""

    def __init__(self, settings: Settings, models: Sequence[ModelPlan]) -> None:
        self._settings = settings
        self._signals: list[int] = []
        self._hurried = False
        self._notifier = Notifier(os.environ)
        self._reporter = Reporter(self._notifier)
        self._said_ready = False
        self._tell_at = time.monotonic() + SLOW_START_S
        for number in SIGNALS:  # before anything is made that a signal would leave behind; `run` looks at them first of all
            signal.signal(number, lambda caught, _frame: self._signals.append(caught))
        raise_descriptor_limit()
        try:
            self._make(models)
        except (OSError, StartError) as error:  # in the latter, other advice would lead astray
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and cause.errno == errno.EMFILE:
                raise StartError(too_many_descriptors(settings.workers, len(models), descriptor_limits()[0])) from error
            raise

    def _make(self, models: Sequence[ModelPlan]) -> None:
        """Make everything that the service stands on, or nothing."""
        settings = self._settings
        with contextlib.ExitStack() as undo:
            self._listening = undo.enter_context(contextlib.ExitStack())
            self._sockets = self._listen()
            self.address = listen.address(self._sockets, tls=bool(settings.tls_cert))
            self._runtime = RuntimeDir(base(dict(os.environ), settings.runtime_dir), instance_name(settings, self.address))
            undo.callback(self._runtime.remove)
            self._lifeline = Lifeline()
            undo.callback(self._lifeline.close)
            self._pools: list[Pool] = []
            for model in models:
                self._pools.append(self._make_pool(len(self._pools), model, len(models)))
                undo.callback(self._pools[-1].close)
            self._http = self._make_http(models)
            undo.callback(self._http.close)
            self._leave = undo.pop_all()
            """What was made, in its order: undone from its end, whatever of it fails."""

    def _listen(self) -> list[socket.socket]:
        settings = self._settings
        inherited = activation.inherited(os.environ, settings.workers)
        self._callers_wait = bool(inherited)
        """On a socket that outlives us callers wait in its queue until the models are warm, instead of being told 503."""
        sockets = inherited or listen.listen(settings.host, settings.port, settings.uds, settings.workers)
        self._listening.callback(listen.close, sockets, None if inherited else settings.uds)
        return sockets

    def _make_pool(self, index: int, model: ModelPlan, models: int) -> Pool:
        directory = self._runtime.path / str(index)
        shape = queue_shape(
            workers=len(model.workers),
            owners=self._settings.workers,
            limit_tokens=self._settings.queue_tokens,
            max_request_scores=self._settings.max_documents,
            max_pairs=self._settings.batch_size,
            image_bytes=shared_bytes(self._settings, model.card),
        )
        make_queue(directory, shape)
        return Pool(
            directory,
            model.workers,
            Policy(forward_limit_s=self._settings.forward_limit),
            self._lifeline,
            self._settings.log_level,
            log_json=self._settings.log_json,
            name="worker-" if models == 1 else f"worker-{index}-",
        )

    def _make_http(self, models: Sequence[ModelPlan]) -> HttpPool:
        path = self._runtime.path
        queues = [path / str(index) for index in range(len(models))]
        served = [ServedPlan(card=model.card, queue=str(queue)) for model, queue in zip(models, queues, strict=True)]
        try:
            metrics_directory(path).mkdir()
            plan_file(path).write_bytes(msgspec.json.encode(ServicePlan(settings=self._settings, served=served)))
        except OSError as error:
            raise StartError(f"can't write to {path} ({error.strerror}); free some room or set RERANKER_RUNTIME_DIR") from error
        return HttpPool(path, queues, self._sockets, self._lifeline)

    def run(self) -> int:
        """Serve until told to stop; returns the exit code. A model that can't be loaded ends the start. Never leaves a child behind."""
        try:
            self._serve()
        finally:
            self._stop()
        return 0

    def _serve(self) -> None:
        """Watch, then drain; callers who were let in are answered whatever ends the watch."""
        try:
            self._watch()
        except Exception as error:
            if self._said_ready:
                log.error("ending in order after %r", error)
                self._drain()
            raise
        self._drain()

    def _watch(self) -> None:
        """Poll children until a signal says stop. Raises StartError when a worker of each model, or an HTTP process, can't be had."""
        while True:
            if self._told_to_end():
                return
            self._poll()
            time.sleep(POLL_S)

    def _told_to_end(self) -> bool:
        """Take the signals that came: SIGHUP goes on to the HTTP processes, the others say stop."""
        ends = False
        while self._signals:
            if self._signals.pop(0) == signal.SIGHUP:
                self._http.send(signal.SIGHUP)
            else:
                ends = True
        return ends

    def _poll(self) -> None:
        for pool in self._pools:
            pool.poll()
        if not self._said_ready and (error := self._failed()):
            raise error
        told = [] if self._said_ready else [in_words(pool.workers()) for pool in self._pools]
        warm = all(told)
        if warm or not self._callers_wait:
            self._http.poll()
        if warm and not self._said_ready and self._http.all_beating():
            self._said_ready = True
            log.info("ready: %s (%s)", self.address, "; ".join(told))
            self._notifier.ready(f"ready at {self.address}", self.address)
        now = time.monotonic()
        if not self._said_ready and now >= self._tell_at:
            self._tell_at = now + SLOW_START_S
            log.info("%s", loading(self._standing()))
        if self._reporter.due(now):
            self._reporter.tick(self._standing(), now, ready=self._said_ready)

    def _failed(self) -> StartError | None:
        """Why this start can't succeed, if that is so."""
        reason = self._http.failed()
        return next(filter(None, (pool.failed() for pool in self._pools)), None) or (StartError(reason) if reason else None)

    def _standing(self) -> Standing:
        models = [
            ModelStanding(
                workers=pool.workers(),
                reserved_tokens=sum(arena.reserved_tokens for arena in pool.queue.arenas),
                limit_tokens=pool.queue.board.shape.limit_tokens,
            )
            for pool in self._pools
        ]
        return Standing(
            models=models,
            http_processes=self._settings.workers,
            http_ready=self._http.beating(),
            forward_limit_s=self._settings.forward_limit,
        )

    def _drain(self) -> None:
        """HTTP processes first: they turn readiness false, finish what is in flight and end; the workers serve them meanwhile.

        After the grace they stop listening, and so must we: connections would wait at sockets of ours for nobody. Sockets that we inherited
        stay open for our successor all the same, by whoever made them. A second signal ends the wait at once.
        """
        log.info("draining")
        self._notifier.stopping()
        self._http.drain()
        closing = time.monotonic() + self._settings.drain_grace
        until = closing + self._settings.drain_timeout + 1.0
        while self._http.running() and (now := time.monotonic()) < until and not self._hurried:
            if now >= closing:
                self._listening.close()
            self._hurried = self._told_to_end()
            for pool in self._pools:
                pool.poll()
            time.sleep(POLL_S / 5)

    def _stop(self) -> None:
        """End every child and leave nothing behind."""
        self._http.kill()
        for pool in self._pools:
            pool.stop(0.0 if self._hurried or self._told_to_end() else STOP_WORKERS_S)
        self._leave.close()
        self._notifier.close()
        log.info("stopped")


def descriptor_limits() -> tuple[int, int]:
    """How many descriptors a process may have, and how far it may raise that itself."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_descriptor_limit() -> None:
    """Allow this process and its children as many descriptors as they may have; the limit is low by default for those who use `select`."""
    hard = descriptor_limits()[1]
    with contextlib.suppress(OSError, ValueError):  # some systems name a limit that they don't grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def too_many_descriptors(processes: int, models: int, limit: int) -> str:
    """What to do where the limit is too low."""
    needs = f"RERANKER_WORKERS={processes} with {models} {'model' if models == 1 else 'models'}"
    return (
        f"{needs} needs more than the {limit:,} open files that are allowed; raise the limit (ulimit -n, LimitNOFILE=) or lower the setting"
    )


def in_words(workers: Sequence[WorkerView]) -> str:
    """What a model's workers run on, as the first of them that is ready has it; empty while none is."""
    ready = next((worker for worker in workers if worker.state == "ready"), None)
    if ready is None:
        return ""
    return f"{len(workers)} workers on {ready.device}, {ready.dtype}, {ready.backend}, {ready.budget_tokens} tokens a batch"


def instance_name(settings: Settings, address: str) -> str:
    """What tells this instance from others on the machine: its port, or its Unix socket."""
    if address.startswith("unix:"):
        return "uds-" + str(Path(address.removeprefix("unix:")).resolve()).strip("/").replace("/", "-")[-40:]
    return address.rpartition(":")[2]

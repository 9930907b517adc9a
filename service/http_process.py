"""An HTTP process: Granian, embedded in our own process so that we own its life, serving the Litestar application. Never imports torch.

Forked by the nursery on Linux; elsewhere started as `python -m service.http_process DIRECTORY INDEX SOCKET LIFELINE`, the last two being
descriptors. Everything else stands in DIRECTORY/plan.json.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from batching import lifeline
from batching.errors import StartError, Unavailable
from batching.families.card import ModelCard
from service.listen import BACKLOG
from service.processes import EXIT_CANNOT_START, Processes, processes_file
from service.settings import Settings

if TYPE_CHECKING:
    from litestar import Litestar

    from service.models import Served

GIL_SWITCH_S = 0.001
"""How long a thread that tokenizes may keep the event loop from running; Python's own 5 ms is what a whole small request takes."""
LAST_WORDS_S = 0.5
"""For the answers to those whose requests were not finished when the drain's time was over."""
HEADER_TIMEOUT_S = 30.0
"""For a request's head to arrive in, and for a connection to idle: whoever sends it a byte at a time holds nothing for longer."""
BACKPRESSURE = 16384
"""Requests that Granian hands to the application at once: admission decides, not the server."""


class ServedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A model to serve: its card, and the directory of its queue."""

    card: ModelCard
    queue: str


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor tells every HTTP process.

    A file in the private runtime directory, since settings hold hashed keys and a command line is public.
    """

    settings: Settings
    served: list[ServedPlan]


def plan_file(directory: Path) -> Path:
    """Where the plan lies."""
    return directory / "plan.json"


def metrics_directory(directory: Path) -> Path:
    """Where the processes' metric files lie."""
    return directory / "metrics"


def read_plan(directory: Path) -> ServicePlan:
    """What the supervisor has written down for us."""
    return msgspec.json.decode(plan_file(directory).read_bytes(), type=ServicePlan)


def open_models(plan: ServicePlan) -> list[Served]:
    """Open every model's tokenizer; no queue yet. Raises UnsupportedModel."""
    from service.models import open_served

    async def closed() -> Any:
        raise Unavailable("the queue is not open")

    return [open_served(one.card, plan.settings, len(plan.served), closed) for one in plan.served]


def build(directory: Path, index: int, plan: ServicePlan, models: Sequence[Served]) -> Litestar:
    """The application, its queues not yet open."""
    from batching.client import QueueClient
    from service.app import create_app
    from service.state import State

    def served(model: Served, queue: str) -> Served:
        return replace(model, client_factory=lambda: QueueClient.open(Path(queue), index))

    ours = [served(model, one.queue) for model, one in zip(models, plan.served, strict=True)]
    app = create_app(plan.settings, ours, index, metrics_directory(directory))
    State.of(app).watch(Processes(processes_file(directory)))
    return app


def server(app: Any, settings: Settings, listener: socket.socket, header_timeout_s: float = HEADER_TIMEOUT_S) -> Any:
    """Granian, embedded, on a socket that somebody else bound; it takes the socket over, and closes it when it stops."""
    from granian._granian import SocketHolder  # the public modules only make sockets of their own
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    make_holder: Any = SocketHolder
    is_unix = listener.family == socket.AF_UNIX
    holder: Any = make_holder(listener.detach(), is_unix, BACKLOG)

    class Inherited(Server):
        """Granian's embedded server listens for itself; ours is told where."""

        def _init_shared_socket(self) -> None:
            self._shd = holder

    return Inherited(
        app,
        interface=Interfaces.ASGI,
        http=HTTPModes.auto if settings.http2 else HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=int(header_timeout_s * 1000)),
        websockets=False,
        backlog=BACKLOG,
        backpressure=BACKPRESSURE,
        log_enabled=False,
        ssl_cert=Path(settings.tls_cert) if settings.tls_cert else None,
        ssl_key=Path(settings.tls_key) if settings.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12 if settings.tls_min == "1.2" else SSLProtocols.tls13,
    )


async def serve(app: Litestar, settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM, then drain: readiness false, a grace in which requests are still taken, in-flight ones finished."""
    from service.state import State

    granian = server(app, settings, listener)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, app.state.reload)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal's Ctrl-C reaches every process; the supervisor stops them in order
    if settings.api_keys_file:
        app.state.reload()  # a SIGHUP after the keys were read and before now was ignored
    running = asyncio.ensure_future(granian.serve())
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait((running, stop), return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        stop.cancel()
        running.result()
        raise RuntimeError("the HTTP server ended by itself")
    app.state.drain()
    await asyncio.sleep(settings.drain_grace)
    granian.stop()
    await asyncio.wait((running,), timeout=settings.drain_timeout)
    if not running.done():  # what is not finished by now is told so, rather than cut off
        await State.of(app).models.close()
        await asyncio.wait((running,), timeout=LAST_WORDS_S)


def heed_signals() -> None:
    """Until the event loop takes them over: SIGTERM ends a process that serves nobody yet, with exit code 0; others are ignored."""

    def end(number: int, frame: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def settle() -> None:
    """Tell the garbage collector that what there is now stays: to look through it takes 20 ms and more, in which no request is served."""
    gc.collect()
    gc.freeze()


def run(
    directory: Path, index: int, plan: ServicePlan, listener: socket.socket, pipe: int, opened: list[Served] | StartError | None = None
) -> int:
    """Run one HTTP process to its end; its exit code. One that can't start says why in the table of processes.

    `opened`: what `open_models` gave, where that was done already.
    """
    lifeline.hold(pipe)
    import uvloop

    from service import logs

    logs.set_up(plan.settings, f"http-{index}")
    sys.setswitchinterval(GIL_SWITCH_S)
    try:
        if isinstance(opened, StartError):
            raise opened
        app = build(directory, index, plan, open_models(plan) if opened is None else opened)
    except StartError as error:
        Processes(processes_file(directory)).tell(index, str(error))
        return EXIT_CANNOT_START
    settle()
    uvloop.run(serve(app, plan.settings, listener))
    return 0


def main(directory: str, index: str, descriptor: str, pipe: str) -> int:
    """Run one HTTP process from its command line; its exit code."""
    heed_signals()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return run(Path(directory), int(index), read_plan(Path(directory)), socket.socket(fileno=int(descriptor)), int(pipe))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

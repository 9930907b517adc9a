"""Servers under test: started as processes of their own, waited for until they answer a real request, stopped with their children.

`rerankd_command` and `costless_command` alone know how the service is started; every measurement goes through them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.load.connection import Connection, Target, prepare
from service.load.http11 import ResponseError
from service.load.shapes import SHAPES, encode_body
from service.load.workload import Request

REPOSITORY = Path(__file__).parents[2]
SETTLED_LOOK_S, SETTLED_LOOKS, SETTLED_SHARE = 0.5, 4, 0.2
"""A server that used less than this share of a core in so many looks in a row has loaded all it will."""
_PROBE = Request("which of these is a colour?", ("red", "a stone"))


class StartFailure(Exception):
    """A server under test did not come up; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a server."""

    arguments: Sequence[str]
    port: int
    dialect: str = "native"
    environment: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def service_settings(model: Path, port: int, **settings: object) -> dict[str, str]:
    """Return the environment of the service on a CPU model; `settings` are named as in `service.settings`, None leaves one alone."""
    given = {"model_name": model, "port": port, "device": "cpu", "log_level": "warning", "use_offline_mode": "true", **settings}
    environment = {f"RERANKER_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    return {**environment, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])}


def rerankd_command(model: Path, **settings: object) -> Command:
    """Start the service as a user would; from this checkout, installed or not."""
    port = free_port()
    return Command([sys.executable, "-m", "service", "serve"], port, "native", service_settings(model, port, **settings))


def costless_command(model: Path, **settings: object) -> Command:
    """Start the service with a scorer that costs nothing."""
    port = free_port()
    return Command([sys.executable, "-m", "ops.bench.costless"], port, "native", service_settings(model, port, **settings))


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started; it answers once `wait_ready` has returned."""

    command: Command
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.command.port}"

    @property
    def group(self) -> int:
        """Its process group."""
        return self.process.pid

    def wait_ready(self, limit_s: float = 180.0) -> None:
        """Return once it answered a real request. Raises StartFailure."""
        asyncio.run(_answering(self, limit_s))

    def wait_settled(self, limit_s: float = 120.0) -> None:
        """Return once its processes are idle: a server that answers may still be loading further replicas. After `limit_s` anyway."""
        until, quiet, used = time.monotonic() + limit_s, 0, self.cpu_s()
        while quiet < SETTLED_LOOKS and time.monotonic() < until:
            time.sleep(SETTLED_LOOK_S)
            before, used = used, self.cpu_s()
            quiet = 0 if used - before > SETTLED_SHARE * SETTLED_LOOK_S else quiet + 1

    def cpu_s(self) -> float:
        """Processor seconds that its processes have used so far; NaN where /proc does not tell."""
        return group_cpu_s(self.group)


def group_cpu_s(group: int) -> float:
    """Return the processor seconds of all living processes of a process group (proc(5): fields 5, 14 and 15 of stat)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == group else 0
    return ticks / os.sysconf("SC_CLK_TCK") if Path("/proc/self/stat").exists() else math.nan


@contextlib.contextmanager
def starting(command: Command, log: Path) -> Iterator[Running]:
    """Run a server; yields at once. It is stopped, with its children, when the block ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **command.environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.arguments, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
        )
        try:
            yield Running(command, process, log)
        finally:
            _stop(process)


@contextlib.contextmanager
def serving(command: Command, log: Path, limit_s: float = 180.0) -> Iterator[Running]:
    """Run a server; yields once it answered a request and does nothing any more. Raises StartFailure."""
    with starting(command, log) as running:
        running.wait_ready(limit_s)
        running.wait_settled()
        yield running


async def _answering(running: Running, ready_s: float) -> None:
    command, process = running.command, running.process
    shape = SHAPES[command.dialect]
    probe = prepare("POST", shape.path, encode_body(shape, _PROBE))
    deadline = time.monotonic() + ready_s
    last = "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartFailure(f"{command.arguments[0]} ended with status {process.returncode}:\n{_tail(running.log)}")
        try:
            async with asyncio.timeout(30):
                connection = await Connection.open(Target(port=command.port))
                response = await connection.send(probe)
            connection.close()
            if response.status == 200:
                return
            last = f"{response.status} {response.body[:200].decode(errors='replace')}"
        except (OSError, ResponseError) as error:
            last = type(error).__name__
        await asyncio.sleep(0.2)
    raise StartFailure(f"no good answer within {ready_s:g} s, last: {last}\n{_tail(running.log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The whole group: servers leave workers behind when only their parent is told.
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        time.sleep(0.2)


def _tail(log: Path, size: int = 2000) -> str:
    return log.read_text(errors="replace")[-size:]

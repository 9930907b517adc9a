"""Servers under test: started as processes of their own, waited for until they answer a real request, stopped with their children.

`rerankd_command` alone knows how the service is started; every measurement goes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.bench.connection import Connection, Target, prepare
from ops.bench.http11 import ResponseError
from ops.bench.shapes import SHAPES, encode_body
from ops.bench.workload import Request

_REPOSITORY = Path(__file__).parents[2]
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


def rerankd_command(
    model: Path, *, dtype: str = "float32", processes: int = 1, replicas: int | None = None, settings: Mapping[str, str] | None = None
) -> Command:
    """Start the service on a CPU model; `settings` are RERANKER_* values without the prefix, in capitals."""
    port = free_port()
    values = {
        "PORT": str(port),
        "MODEL_NAME": str(model),
        "DTYPE": dtype,
        "WORKERS": str(processes),
        "DEVICE": "cpu",
        "LOG_LEVEL": "warning",
    }
    if replicas is not None:
        values["REPLICAS"] = str(replicas)
    values.update(settings or {})
    environment = {f"RERANKER_{name}": value for name, value in values.items()}
    return Command([sys.executable, "-m", "service", "serve"], port, "native", environment)


@contextlib.contextmanager
def serving(command: Command, log: Path, *, ready_s: float = 180.0) -> Iterator[str]:
    """Run a server; yields its URL once it answered a request. Raises StartFailure."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **command.environment, "PYTHONPATH": str(_REPOSITORY), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.arguments, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=log.parent, start_new_session=True
        )
        try:
            asyncio.run(_answering(command, process, log, ready_s))
            yield f"http://127.0.0.1:{command.port}"
        finally:
            _stop(process)


async def _answering(command: Command, process: subprocess.Popen[bytes], log: Path, ready_s: float) -> None:
    shape = SHAPES[command.dialect]
    probe = prepare("POST", shape.path, encode_body(shape, _PROBE))
    deadline = time.monotonic() + ready_s
    last = "no connection"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartFailure(f"{command.arguments[0]} ended with status {process.returncode}:\n{_tail(log)}")
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
    raise StartFailure(f"no good answer within {ready_s:g} s, last: {last}\n{_tail(log)}")


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

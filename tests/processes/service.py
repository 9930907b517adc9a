"""A whole service in processes of its own, for tests: started, asked, and looked at from outside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil

from batching.arena import Arena
from batching.errors import LayoutMismatch
from batching.families.encode import Encoder
from batching.types import Float32s
from service import model_files
from tests.fakes import expected
from tests.processes.driver import argument
from tests.processes.engine import ROOT
from tests.processes.http import Answer, Caller, Closed

Scorers = list[tuple[str, dict[str, object]]]
SHM = Path("/dev/shm")


def scorers(count: int = 1, **options: object) -> Scorers:
    """Workers with the fake scorer."""
    return [("tests.fakes:make", options)] * count


@cache
def encoder() -> Encoder:
    """The starter model's tokenizer, which gives the tests the numbers that a FakeScorer must answer with."""
    return Encoder(model_files.card(model_files.starter(), "starter", None))


def known(query: str, documents: Sequence[str], max_length: int = 512) -> Float32s:
    """The raw scores that a service with fake scorers must give."""
    return expected(encoder().encode(query, documents, max_length=max_length).sequences)


def asked(query: str, documents: Sequence[str], **more: object) -> bytes:
    """A request's body."""
    return json.dumps({"query": query, "documents": list(documents), "raw_scores": True, **more}).encode()


def is_right(answer: Answer, query: str, documents: Sequence[str]) -> bool:
    """Whether every document has its own score, best first."""
    want = known(query, documents)
    results = answer.json["results"]
    order = np.argsort(-want, kind="stable").tolist()
    return [one["index"] for one in results] == order and [one["relevance_score"] for one in results] == want[order].tolist()


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that has ended and waits for init to take note does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that ended just now."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def living(processes: Sequence[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Those that still run `limit_s` seconds from now; an empty list as soon as none does."""
    until = time.monotonic() + limit_s
    while (found := [one for one in processes if lives(one)]) and time.monotonic() < until:
        time.sleep(0.01)
    return found


class Service:
    """`with`: a running service; ready unless told not to wait. Afterwards it has stopped, and everything it made is gone."""

    def __init__(
        self, *workers: Scorers, wait: bool = True, command: list[str] | None = None, base: Path | None = None, extra_path: Path | None = None,
        **settings: object,
    ) -> None:  # fmt: skip
        """`workers`: the scorers of each model; `command`: another program, `{base}` in it being the place of the runtime directory."""
        self.base = base or Path(tempfile.mkdtemp(prefix="rr-", dir=SHM if SHM.is_dir() else None))
        told = {
            "port": "0",
            "model_name": "starter",
            "log_level": "warning",
            "runtime_dir": str(self.base),
            "request_timeout": "20",
            **settings,
        }
        texts = {name: str(value) for name, value in told.items()}
        self._command = [part.format(base=self.base) for part in command or ()] or [
            sys.executable,
            "-m",
            "tests.processes.driver",
            argument(texts, *(workers or (scorers(),))),
        ]
        self._python_path = os.pathsep.join(str(path) for path in (ROOT, extra_path) if path)
        self._wait, self.log_path = wait, self.base.with_suffix(".log")
        self.address = f"unix:{texts['uds']}" if "uds" in texts else ""
        if texts["port"] != "0":
            self.address = f"http://127.0.0.1:{texts['port']}"

    def __enter__(self) -> Service:
        self.started = time.monotonic()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(self._command, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": self._python_path})
        self.parent = psutil.Process(self.process.pid)
        try:
            if self._wait:
                self.until(self.is_ready, 30.0)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if kind is not None:
            sys.stderr.write(self.log())
        shutil.rmtree(self.base, ignore_errors=True)
        self.log_path.unlink(missing_ok=True)

    def log(self) -> str:
        """What the service wrote to stderr."""
        return self.log_path.read_text("utf-8", "replace")

    def is_ready(self) -> bool:
        """Whether it says so itself."""
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.log()}")
        if not self.address and self.runtime:
            self.address = f"http://127.0.0.1:{self.runtime.name.rpartition('-')[2]}"
        if not self.runtime or not self._all_beat(self.runtime):
            return False
        try:
            return asyncio.run(ask(self.address, "/health/ready")).status == 200
        except (OSError, Closed):
            return False

    @property
    def runtime(self) -> Path | None:
        """The runtime directory, once it is there."""
        name = "rerankd-*" if not self.address or self.address.startswith("unix:") else f"rerankd-{self.address.rpartition(':')[2]}"
        return next(self.base.glob(name), None)

    def _all_beat(self, runtime: Path) -> bool:
        """Whether every HTTP process's event loop runs: one that is not asked yet may still be starting."""
        try:
            arenas = [Arena(path) for path in runtime.glob("*/arena.*")]
        except (OSError, LayoutMismatch):
            return False
        beats = [float(arena.header["owner_beat"][0]) for arena in arenas]
        for arena in arenas:
            arena.close()
        return bool(beats) and min(beats) > self.started

    def until(self, condition: Callable[[], bool], limit_s: float = 10.0) -> float:
        """Wait for a condition; how long it took."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > limit_s:
                raise AssertionError(f"it did not happen within {limit_s} s:\n{self.log()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def _children(self, module: str) -> list[psutil.Process]:
        found = self.parent.children(recursive=True)
        return [child for child in found if lives(child) and module in command_of(child)]

    def http_processes(self) -> list[psutil.Process]:
        """In the order of their numbers, which stand last."""
        return sorted(self._children("service.http_process"), key=lambda one: command_of(one)[-1:])

    def nursery(self) -> psutil.Process:
        return self._children("service.http_nursery")[0]

    def workers(self) -> list[psutil.Process]:
        return self._children("batching.worker")

    def processes(self) -> list[psutil.Process]:
        return [self.parent, *self.parent.children(recursive=True)]

    def stop(self, number: int = signal.SIGTERM, limit_s: float = 15.0) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(limit_s)

    def left_behind(self) -> list[str]:
        """What still lies in the place of the runtime directory."""
        return [str(path.relative_to(self.base)) for path in self.base.rglob("*")]


async def ask(address: str, path: str = "/rerank", body: bytes | None = None, **headers: str) -> Answer:
    """One request on a connection of its own."""
    async with Caller(address) as caller:
        return await caller.call(path, body, **headers)

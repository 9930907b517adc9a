"""One real service with the starter model for all tests that watch or balance one, and callers that keep it busy."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service import probe

READY_S = 100.0
WORDS = [
    "capital",
    "river",
    "mountain",
    "city",
    "country",
    "people",
    "language",
    "history",
    "music",
    "water",
    "energy",
    "market",
    "science",
    "law",
    "school",
]


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(true: Callable[[], Any], limit_s: float, what: str) -> None:
    """Poll until something holds."""
    until = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until, f"{what} took longer than {limit_s:.0f} s"
        time.sleep(0.1)


@contextlib.contextmanager
def running(command: list[str], log: Path, environ: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the test."""
    with (
        log.open("ab") as written,
        subprocess.Popen(command, stdout=written, stderr=written, env={**os.environ, **(environ or {})}) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(45)
            process.kill()


@contextlib.contextmanager
def serving(directory: Path, port: int, drain_grace: float = 0) -> Iterator[str]:
    """A ready service on a port; gives its address."""
    command = [
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "serve",
        "--model",
        "starter",
        "--port",
        str(port),
        "--workers",
        "2",
    ]
    environ = {"RERANKER_REPLICAS": "1", "RERANKER_RUNTIME_DIR": str(directory), "RERANKER_DRAIN_GRACE": str(drain_grace)}
    where, log = f"http://127.0.0.1:{port}", directory / f"service-{port}.log"
    with running(command, log, environ) as process:

        def up() -> bool:
            assert process.poll() is None, log.read_text()
            return not probe.trouble(where)

        wait_until(up, READY_S, "the start of the service")
        yield where


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), free_port()) as where:
        yield where


def post(where: str, path: str, body: Any) -> int:
    """One call; returns the status."""
    host, _, port = where.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status


def some_request(chance: random.Random) -> tuple[str, Any]:
    """A path and a body, of several dialects, sizes and errors."""
    documents = [" ".join(chance.choices(WORDS, k=chance.choice([5, 20, 60, 400]))) for _ in range(chance.randint(1, 12))]
    query = " ".join(chance.choices(WORDS, k=5))
    return chance.choice(
        [
            ("/v1/rerank", {"model": "starter", "query": query, "documents": documents, "return_documents": False}),
            ("/rerank", {"query": query, "texts": documents}),
            ("/v2/rerank", {"model": "starter", "query": query, "documents": documents * 2}),
            ("/rerank", {"query": query}),
        ]
    )


@contextlib.contextmanager
def load(where: str, callers: int = 2) -> Iterator[list[int]]:
    """Callers that ask all the time; gives the statuses answered so far."""
    statuses: list[int] = []
    stop = threading.Event()

    def call(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            statuses.append(post(where, *some_request(chance)))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()

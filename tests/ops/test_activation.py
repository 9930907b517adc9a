"""Listening sockets that a service manager hands over."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batching.errors import StartError
from service.activation import inherited

FREE = 90
"""Descriptors from here on are free in a test process."""


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    taken: list[int] = []
    yield taken
    for descriptor in taken:
        try:
            os.close(descriptor)
        except OSError:
            continue


def give(one: socket.socket, descriptor: int, taken: list[int]) -> None:
    os.dup2(one.fileno(), descriptor)
    taken.append(descriptor)
    one.close()


def listener() -> socket.socket:
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    one.listen()
    return one


def environ(count: int) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "http"}


def test_two_sockets_serve_three_processes(descriptors: list[int]) -> None:
    """Sockets are handed out in turn, and children inherit neither them nor the variables."""
    give(listener(), FREE, descriptors)
    give(listener(), FREE + 1, descriptors)
    variables = environ(2)
    found = inherited(variables, 3, FREE)
    assert [one.fileno() for one in found] == [FREE, FREE + 1, FREE]
    assert not variables
    assert not any(one.get_inheritable() for one in found)
    for one in set(found):
        one.close()


@pytest.mark.parametrize("variables", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}])
def test_none_are_taken_that_are_not_ours(variables: dict[str, str]) -> None:
    """Variables for another process, or none, mean that we listen for ourselves."""
    assert inherited(dict(variables), 1, FREE) == []


def test_a_datagram_socket_is_refused(descriptors: list[int]) -> None:
    """A wrong unit file is told in one line."""
    give(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), FREE, descriptors)
    with pytest.raises(StartError, match="ListenStream"):
        inherited(environ(1), 1, FREE)


def test_a_missing_socket_is_refused() -> None:
    """LISTEN_FDS promises more than there is."""
    with pytest.raises(StartError, match="LISTEN_FDS"):
        inherited(environ(1), 1, FREE + 5)


CALLS = 20


@pytest.mark.timeout(150)
def test_nobody_is_refused_while_a_service_starts_on_an_inherited_socket(short_path: Path) -> None:
    """Callers who come before the model is warm wait in the socket's queue, and are answered 200."""
    given = listener()
    where = f"http://127.0.0.1:{given.getsockname()[1]}"
    environ = {**os.environ, "RERANKER_REPLICAS": "1", "RERANKER_RUNTIME_DIR": str(short_path), "LISTEN_FDS": "1"}
    start = "import os, sys; os.dup2(int(sys.argv.pop(1)), 3); os.environ['LISTEN_PID'] = str(os.getpid()); from service.cli import main; main()"
    command = [sys.executable, "-c", start, str(given.fileno()), "serve", "--model", "starter"]
    with (short_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, pass_fds=(given.fileno(),), stderr=log)
    try:
        with ThreadPoolExecutor(CALLS) as callers:
            statuses = list(callers.map(lambda _: ask(where), range(CALLS)))
        assert statuses == [200] * CALLS
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)
        given.close()


def ask(where: str) -> int:
    """One ranking, by whoever has time."""
    host = where.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=120)
    with contextlib.closing(connection):
        body = json.dumps({"query": "a", "documents": ["b", "c"]})
        connection.request("POST", "/rerank", body, {"content-type": "application/json", "connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

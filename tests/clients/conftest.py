"""A live server for the client tests: RERANKD_URL where one runs already, else RERANKD_COMMAND (rerankd) with the starter model.

RERANKD_COMMAND=stub takes `stub.py` instead, which needs no engine. This environment holds the clients, not the server: see
`requirements.txt`, and `just test-clients`.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

START_S = 120.0
STUB = "stub"

os.environ.update(
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    HAYSTACK_TELEMETRY_ENABLED="False",
    ANONYMIZED_TELEMETRY="False",
    TOKENIZERS_PARALLELISM="false",
    LANGSMITH_TRACING="false",
)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(port: int) -> list[str]:
    """Return the command line of the server to test against."""
    given = os.environ.get("RERANKD_COMMAND", "rerankd")
    if given == STUB:
        return [sys.executable, "-m", "tests.clients.stub", str(port), *shlex.split(os.environ.get("RERANKD_RECORD", ""))]
    return [*shlex.split(given), "serve", "--model", "starter", "--host", "127.0.0.1", "--port", str(port)]


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the server is ready; fail when it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail(f"the server was not ready after {START_S:.0f} s")


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The root URL of a ready server."""
    running = os.environ.get("RERANKD_URL")
    if running:
        yield running.rstrip("/")
        return
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command(port)) as server:
        try:
            wait_until_ready(root, server)
            yield root
        finally:
            server.terminate()


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys from the outside must not reach the clients."""
    for name in ("COHERE_API_KEY", "CO_API_KEY", "VOYAGE_API_KEY", "JINA_API_KEY", "NVIDIA_API_KEY"):
        monkeypatch.delenv(name, raising=False)

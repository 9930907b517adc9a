"""A real service for tests: `rerankd serve` in processes of its own, on a free loopback port, stopped and checked at the end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

START_S = 90.0


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """The root URL of a ready service that was given `options`."""
    port = free_port()
    root = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", "service", "serve", "--port", str(port), "--log-level", "warning", *options]) as server:
        try:
            wait_until_ready(root, server)
            yield root
        finally:
            server.terminate()
            server.wait(30)


def wait_until_ready(root: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the service is ready. Raises RuntimeError when it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the service ended with {server.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{root}/health/ready", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"the service was not ready after {START_S:.0f} s")

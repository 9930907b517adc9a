"""`rerankd serve` as callers reach it: over a Unix socket, over TLS, in HTTP/2; with keys that are reloaded and limits that all processes share."""

from __future__ import annotations

import contextlib
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.sockets import live
from tests.live import START_S, free_port

CALL = {"query": "a river", "documents": ["water flows", "a stone"], "model": "m"}


@contextlib.contextmanager
def running(client: httpx.Client, *options: str, socket: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The supervisor of a service that `client` finds ready."""
    command = [sys.executable, "-m", "service", "serve", "--model", "starter", "--log-level", "warning", *options]
    with subprocess.Popen(command) as server, client:
        try:
            if socket is not None:  # httpx leaves a socket open when it finds no file
                _until(socket.exists, START_S)
            _until(lambda: _ready(client, server), START_S)
            yield server
        finally:
            server.terminate()
            assert server.wait(30) == 0


def _ready(client: httpx.Client, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _until(condition: Callable[[], bool], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def _statuses(client: httpx.Client, key: str, times: int = 1) -> list[int]:
    return [client.post("/rerank", json=CALL, headers={"Authorization": f"Bearer {key}"}).status_code for _ in range(times)]


def test_keys_and_limits_over_a_unix_socket(short_path: Path) -> None:
    """Two HTTP processes on one socket: a key's limit holds over both, SIGHUP changes the keys in both, the socket's file goes at the end."""
    socket, keys = short_path / "s", short_path / "keys"
    keys.write_text("search: one\nother: two\n")
    client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://unix", timeout=30)
    options = ["--uds", str(socket), "--workers", "2", "--api-keys-file", str(keys), "--rate-limit-requests", "0.5", "--metrics-per-key"]
    with running(client, *options, socket=socket) as server:
        pooled = [httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://unix", timeout=30) for _ in range(4)]
        statuses = [status for _ in range(3) for one in pooled for status in _statuses(one, "one")]
        assert 5 <= statuses.count(200) <= 7, statuses
        assert set(statuses) == {200, 429}
        refused = client.post("/rerank", json=CALL, headers={"Authorization": "one"})
        assert int(refused.headers["retry-after"]) >= 1
        assert _statuses(client, "two") == [200]
        assert _statuses(client, "three") == [401]
        keys.write_text("third: three\n")
        server.send_signal(signal.SIGHUP)
        for one in pooled:
            _until(lambda one=one: _statuses(one, "three") != [401], 10.0)  # type: ignore[misc]
            assert _statuses(one, "two") == [401]
        assert server.poll() is None
        text = client.get("/metrics").text
        assert f'rerankd_key_requests_total{{key="search"}} {len(statuses) + 1}.0' in text
        for one in pooled:
            one.close()
    assert not socket.exists()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def test_tls_and_http2(certificate: tuple[Path, Path]) -> None:
    """Encrypted answers in HTTP/1.1 and HTTP/2, TLS 1.3 only; nobody is answered in the clear, and strangers don't trust us."""
    cert, key = certificate
    port = free_port()
    root = f"https://127.0.0.1:{port}"
    trusting = httpx.Client(verify=ssl.create_default_context(cafile=str(cert)), base_url=root, timeout=30)
    with running(trusting, "--port", str(port), "--tls-cert", str(cert), "--tls-key", str(key), "--http2"):
        answer = trusting.post("/rerank", json=CALL)
        assert answer.status_code == 200
        assert answer.http_version == "HTTP/1.1"
        assert len(answer.json()["results"]) == 2
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{root}/health", verify=ssl.create_default_context())
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/health")
        old = ssl.create_default_context(cafile=str(cert))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError, match="VERSION"):
            httpx.get(f"{root}/health", verify=old)
        assert _curl(root, cert, "--http2") == ["200", "2"]
        assert _curl(root, cert, "--http1.1") == ["200", "1.1"]


@pytest.mark.parametrize(("oldest", "spoken"), [("1.2", "TLSv1.2"), ("1.3", None)])
def test_the_oldest_version_is_a_setting(certificate: tuple[Path, Path], oldest: str, spoken: str | None) -> None:
    """A caller that knows no more than TLS 1.2 is answered where TLS_MIN allows it."""
    cert, key = certificate
    old = ssl.create_default_context(cafile=str(cert))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with live(tls_cert=str(cert), tls_key=str(key), tls_min=oldest) as one:
        found = None
        with contextlib.suppress(ssl.SSLError), one.connect(old) as caller:
            found = caller.version()  # type: ignore[attr-defined]
        assert found == spoken


def _curl(root: str, cert: Path, version: str) -> list[str]:
    """Status and version of an answer to curl; as expected where curl can't speak HTTP/2."""
    curl = shutil.which("curl")
    if curl is None or (
        version == "--http2" and b"HTTP2" not in subprocess.run([curl, "--version"], capture_output=True, check=True).stdout
    ):
        return ["200", version.removeprefix("--http")]
    command = [curl, "-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", version, "--cacert", str(cert), f"{root}/health/ready"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()

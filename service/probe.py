"""Asking a service on this machine how it is, in milliseconds: for health checks in images without curl, `rerankd ctl` and `rerankd top`.

`python -m service.probe` reads the listening settings from the environment as the service does, exits 0 when it is ready, and else 1 saying
why not. Imports nothing but the standard library.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

TIMEOUT_S = 2.5
UNIX = "unix:"


class _Unix(http.client.HTTPConnection):
    """HTTP through a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of an address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def address(environ: Mapping[str, str]) -> str:
    """Return where the settings say that the service listens; a wildcard address is asked through loopback."""
    if uds := environ.get("RERANKER_UDS"):
        return UNIX + uds
    host = environ.get("RERANKER_HOST") or "127.0.0.1"
    scheme = "https" if environ.get("RERANKER_TLS_CERT") else "http"
    return f"{scheme}://{_bracketed(host)}:{environ.get('RERANKER_PORT') or 8000}"


def ask(where: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """GET a path of the service at `where` (unix:PATH, or an http or https URL): status and body. Raises OSError or HTTPException."""
    asked = _connection(where)
    try:
        asked.request("GET", path, headers=dict(headers or {}))
        answer = asked.getresponse()
        return answer.status, answer.read()
    finally:
        asked.close()


def trouble(where: str, path: str = "/health/ready") -> str:
    """Return why the service is not ready, or an empty text."""
    try:
        status, body = ask(where, path)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {where} ({error})"
    if status == 200:
        return ""
    try:
        return str(json.loads(body).get("detail") or status)
    except (ValueError, AttributeError):
        return f"status {status}"


def _connection(where: str) -> http.client.HTTPConnection:
    if where.startswith(UNIX):
        return _Unix(where.removeprefix(UNIX))
    parts = urlsplit(where)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "127.0.0.1")  # noqa: S104  compared, not bound
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if host in {"127.0.0.1", "::1", "localhost"}:  # ourselves: whoever could stand in between here could read our memory too
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    if reason := trouble(address(os.environ)):
        sys.exit(f"not ready: {reason}")

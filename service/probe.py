"""Asking a service on this machine how it is, in milliseconds: for health checks in images without curl, `rerankd ctl` and `rerankd top`.

`python -m service.probe` reads the listening settings from the environment as the service does, exits 0 when it is ready, and else 1 saying
why not. It runs every few seconds, so it imports nothing but the standard library, and looks into no `.env`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

TIMEOUT_S = 2.5
UNIX = "unix:"
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
"""What Kubernetes puts into RERANKER_PORT beside a Service that is named "reranker"."""


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
    """Return where the environment says that the service listens. Raises ValueError that names the variable which doesn't tell it."""
    uds, host, certificate = (_text(environ, *names) for names in (("RERANKER_UDS",), ("RERANKER_HOST", "HOST"), ("RERANKER_TLS_CERT",)))
    return listening(host or "127.0.0.1", _port(environ), _path(uds), tls=_path(certificate) is not None)


def listening(host: str, port: int, uds: str | None, *, tls: bool) -> str:
    """Return the address of a service with these settings. Raises ValueError for a port that is not known before it listens."""
    if uds:
        return UNIX + uds
    if not port:
        raise ValueError("RERANKER_PORT=0 lets the system choose the port: it stands in the service's log")
    return f"{'https' if tls else 'http'}://{_bracketed(host)}:{port}"


def _text(environ: Mapping[str, str], *names: str) -> str:
    """The first variable that is set and not empty."""
    return next(filter(None, (environ.get(name, "").strip() for name in names)), "")


def _path(text: str) -> str | None:
    return None if text.lower() in {"", "none", "auto"} else text


def _port(environ: Mapping[str, str]) -> int:
    for name in ("RERANKER_PORT", "PORT"):
        text = environ.get(name, "")
        if text.strip() and not _SERVICE_ADDRESS.match(text):
            return _number(name, text.strip())
    return 8000


def _number(name: str, text: str) -> int:
    try:
        number = int(text) if text.isascii() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ValueError(f"{name}={text!r} is not allowed: it takes a whole number from 0 up to 65535")
    return number


def ask(where: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """GET a path of the service at `where` (unix:PATH, or an http or https URL): status and body.

    A wildcard address is asked through loopback. Raises OSError, HTTPException, or ValueError for an address that is none.
    """
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
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last for a host that is no name
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
    if parts.scheme not in ("http", "https"):  # HOST:PORT alone would be taken for a path on port 80 of this machine
        raise ValueError(f"an address is http://HOST:PORT, https://HOST:PORT or {UNIX}PATH")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname or "", parts.hostname or "127.0.0.1")  # noqa: S104  compared, not bound
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if host in {"127.0.0.1", "::1", "localhost"}:  # ourselves: whoever could stand in between here could read our memory too
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def main(environ: Mapping[str, str]) -> str:
    """Return why the service that the environment describes is not ready, in one line, or an empty text."""
    try:
        return trouble(address(environ))
    except ValueError as error:
        return str(error)


if __name__ == "__main__":
    if reason := main(os.environ):
        sys.exit(f"not ready: {reason}")

"""A server with the real dialects and a model that counts shared words, for work on the client tests without an engine.

    python -m tests.clients.stub PORT [RECORD]

With RECORD, a file, every call is written there as a line of JSON: how `captured.json` of the dialects' own tests was made.
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from batching.errors import InvalidRequest, NotFound, RerankdError
from service.dialects import table
from service.dialects.errors import error_body
from service.schemas import RerankRequest, RerankResult

MODEL = "stub-model"
KEPT_HEADERS = ("user-agent", "x-pinecone-api-version", "api-key", "accept", "content-type")


def words(text: str) -> set[str]:
    """Return the words of a text, stemmed by cutting."""
    return {word[:5] for word in re.findall(r"\w+", text.lower())}


def rank(request: RerankRequest) -> RerankResult:
    """Rank by the share of the query's words."""
    asked = words(request.query)
    raw = np.array([4 * len(asked & words(text)) / len(asked) - 2 for text in request.documents], np.float32)
    order = np.argsort(-raw, kind="stable").tolist()
    return RerankResult(
        id="stub",
        model=MODEL,
        created=1_767_225_600,
        raw=raw,
        scores=1 / (1 + np.exp(-raw.astype(np.float64))),
        order=order[: request.top_n or None],
        truncated=np.zeros(len(raw), np.bool_),
        pair_tokens=10 * len(raw),
    )


class Handler(BaseHTTPRequestHandler):
    """One call."""

    protocol_version = "HTTP/1.1"
    record: Path | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = table.call(self.path.partition("?")[0], headers)
        try:
            decoded = table.read(body, call)
            content, media_type, sent = table.write(decoded, [rank(request) for request in decoded.requests], call)
            status = 200
        except RerankdError as error:
            status, sent = (400 if isinstance(error, InvalidRequest) else 500), {}
            kind = getattr(error, "error_type", "Validation")
            status, content, media_type = error_body(call.dialect, status, str(error), kind, "stub")
        self._note(call.dialect, headers, body)
        self._answer(status, content, media_type, sent)

    def do_GET(self) -> None:
        self._note("GET", {name.lower(): value for name, value in self.headers.items()}, b"null")
        model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "stub", "model_type": "rerank", "model_name": MODEL}
        if self.path == "/v1/models":
            self._answer(200, json.dumps({"object": "list", "data": [model]}).encode(), "application/json", {})
        elif self.path.startswith("/v1/models/"):
            self._answer(200, json.dumps(model).encode(), "application/json", {})
        elif self.path == "/health/ready":
            self._answer(200, b"{}", "application/json", {})
        else:
            status, content, media_type = error_body("common", 404, str(NotFound("path")), "NotFound", "stub")
            self._answer(status, content, media_type, {})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, content: bytes, media_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-type": media_type, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _note(self, dialect: str, headers: dict[str, str], body: bytes) -> None:
        if self.record is None:
            return
        kept = {name: headers[name] for name in KEPT_HEADERS if name in headers}
        call = {"client": headers.get("user-agent", ""), "dialect": dialect, "path": self.path, "headers": kept, "body": json.loads(body)}
        with self.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(call, ensure_ascii=False) + "\n")


def main() -> None:
    """Serve for ever."""
    Handler.record = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""Schemathesis against a live server that serves a fake model: whatever the OpenAPI document lets one send is answered as it says.

Run by `just fuzz`, as `python -m tests.fuzz.described SCHEMATHESIS [OPTIONS]`; ends with Schemathesis' own exit code.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from service.app import create_app
from service.http_process import server
from service.listen import address, listen
from tests.http.fakes import FakeModel, settings

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
)
"""Not meant here: negative_data_rejection (unknown headers and fields are let through, as other projects' clients send many),
positive_data_acceptance (limits depend on the model that is served) and allow_header_conformance (the framework's own OPTIONS)."""


def main(command: str, *options: str) -> int:
    """Serve on a free port in a thread, run Schemathesis, say how it went."""
    listener = listen("127.0.0.1", 0, None, 1)[0]
    given = settings()
    root = address([listener], tls=False)
    app = create_app(given, [FakeModel().served], 0)
    threading.Thread(target=lambda: asyncio.run(server(app, given, listener).serve()), daemon=True).start()
    _wait(root)
    asked = ["run", f"{root}/openapi.json", "--header", "X-Request-Timeout: 30", "--checks", ",".join(CHECKS), "--continue-on-failure"]
    if "--phases" not in options:
        asked += ["--phases", "examples,coverage,fuzzing"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": "."}
    return subprocess.run([command, *asked, *options], check=False, env=environment).returncode


def _wait(root: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{root}/health/live", timeout=1).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server did not start")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

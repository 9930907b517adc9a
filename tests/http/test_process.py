"""What an HTTP process is: quick to start, small, free of torch; and it lets go of a caller who hung up."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service import http_process
from service.app import create_app
from service.state import State
from tests.http.fakes import FakeModel, settings

PROBE = """
import sys, time, psutil
began = time.process_time()
from tests.http.fakes import FakeModel, settings
import service.http_process, batching.client, batching.families.encode, tokenizers
from service.app import create_app
create_app(settings(), [FakeModel().served], 0)
heavy = [name for name in ("torch", "transformers", "scipy", "huggingface_hub", "rich_click") if name in sys.modules]
# not ru_maxrss, which a child inherits from the process that started it
print(time.process_time() - began, psutil.Process().memory_info().rss, *heavy)
"""


def test_an_http_process_is_light() -> None:
    """Without torch and transformers, started within 1.5 s of processor time (its own, whatever else runs), under 200 MB."""
    out = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert out[2:] == []
    assert float(out[0]) < 1.5
    assert int(out[1]) < 200_000_000


def test_the_collector_leaves_alone_what_stays() -> None:
    """Once an HTTP process is made, a full collection looks at next to nothing, so that no request waits for one."""
    probe = PROBE + "import gc\nprint(len(gc.get_objects()))\nservice.http_process.settle()\nprint(len(gc.get_objects()))"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    before, after = int(out[-2]), int(out[-1])
    assert before > 30_000
    assert after < before / 30


def test_the_command_line_is_quick_and_light() -> None:
    """`--help` imports neither torch nor the server."""
    probe = "import sys\nfrom service.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint([n for n in ('torch', 'litestar', 'numpy') if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.splitlines()[-1] == "[]"
    assert "serve" in out


def _scope(body: bytes) -> dict[str, Any]:
    return {
        "type": "http", "method": "POST", "path": "/rerank", "raw_path": b"/rerank", "query_string": b"", "root_path": "", "scheme": "http",
        "http_version": "1.1", "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        "server": ("test", 80), "client": ("test", 1), "asgi": {"version": "3.0"}, "state": {},
    }  # fmt: skip


async def _call(model: FakeModel, *, hang_up_after_s: float | None) -> list[dict[str, Any]]:
    app = create_app(settings(), [model.served], 0)
    body = b'{"query": "a", "documents": ["b"], "model": "m"}'
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(messages, None)
        if message is None:
            await asyncio.sleep(999.0 if hang_up_after_s is None else hang_up_after_s)
            return {"type": "http.disconnect"}
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with app.lifespan():
        await app(_scope(body), receive, send)  # type: ignore[arg-type]
    return sent


def test_a_caller_who_hangs_up_frees_the_queue() -> None:
    """Scoring is cancelled at once, the tokens are given back, and it is counted as the caller's doing."""
    model = FakeModel()
    model.client.takes_s = 60.0
    sent = asyncio.run(asyncio.wait_for(_call(model, hang_up_after_s=0.05), 10.0))
    assert model.client.cancelled == 1
    assert model.client.reserved == 0
    assert sent[0]["status"] == 499


def test_keys_that_change_during_a_start_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP is not heard before the event loop runs: the keys are read again then, before the first request is."""
    keys, known = tmp_path / "keys", []

    class Granian:
        async def serve(self) -> None:
            known.extend(State.of(app).keys.names)

    keys.write_text("old: revoked\n")
    told = settings(api_keys_file=str(keys))
    app = create_app(told, [FakeModel().served], 0)
    keys.write_text("new: valid\n")
    monkeypatch.setattr(http_process, "server", lambda *_: Granian())
    with socket.socket() as listener, pytest.raises(RuntimeError, match="ended by itself"):
        asyncio.run(http_process.serve(app, told, listener))
    assert known == ["new"]


def test_a_caller_who_stays_is_answered() -> None:
    """The watch on the connection does not disturb an answer."""
    model = FakeModel()
    model.client.takes_s = 0.05
    sent = asyncio.run(asyncio.wait_for(_call(model, hang_up_after_s=None), 10.0))
    assert sent[0]["status"] == 200
    assert model.client.closed

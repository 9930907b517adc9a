"""HAProxy takes its configuration, and behind it no call fails while one of two real services drains, ends and comes back, or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from service import probe
from tests.ops.conftest import free_port, load, running, serving, wait_until
from tests.ops.tools import OPS, tool

CONFIG = OPS / "haproxy" / "haproxy.cfg"


def test_the_configuration_is_valid() -> None:
    """haproxy -c has no complaint and no warning."""
    done = subprocess.run([tool("haproxy"), "-c", "-q", "-f", str(CONFIG)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def balanced(config: Path, front: int, instances: list[str]) -> None:
    """Write the configuration with ports of our own."""
    text = CONFIG.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{front}").replace("127.0.0.1:8405", f"127.0.0.1:{free_port()}")
    for place, where in enumerate(instances):
        text = text.replace(f"127.0.0.1:800{place + 1}", where.removeprefix("http://"))
    config.write_text(text)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["drained", "killed"])
def test_no_call_fails_when_an_instance_goes(service: str, tmp_path: Path, number: int) -> None:
    """Callers behind the proxy see rankings and their own mistakes only, whatever happens to one of two instances."""
    front, config = free_port(), tmp_path / "haproxy.cfg"
    with serving(tmp_path, free_port(), drain_grace=3) as other:
        balanced(config, front, [service, other])
        with running([tool("haproxy"), "-f", str(config)], tmp_path / "haproxy.log"):
            where = f"http://127.0.0.1:{front}"
            wait_until(lambda: not probe.trouble(where), 20, "the first good check")
            with load(where, callers=4) as statuses:
                wait_until(lambda: len(statuses) > 20, 60, "some answers")
                before = len(statuses)
                os.kill(supervisor(other), number)
                time.sleep(8)
                wait_until(lambda: len(statuses) > before + 10, 60, "more answers")
    assert set(statuses) == {200, 400}


def supervisor(where: str) -> int:
    """The process that serves on a port, by its arguments."""
    port = where.rpartition(":")[2]
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                arguments = (directory / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"serve" in arguments and port.encode() in arguments:
                return int(directory.name)
    raise AssertionError(f"nothing serves {where}")

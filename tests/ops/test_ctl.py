"""`rerankd ctl` and `rerankd top` against a real service with the starter model, and the health check of the image."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching.errors import SettingError, StartError
from service import probe
from service.commands.top import own_address
from service.daemon import Daemon
from service.settings_load import load_settings

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rerankd(tmp_path: Path, short_path: Path) -> Iterator[Run]:
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "RERANKER_RUNTIME_DIR": str(short_path / "run"), "RERANKER_REPLICAS": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from service.cli import main; main()", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=100)

    yield run
    Daemon(tmp_path / "rerankd", "default").stop(10.0)


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_service_is_started_asked_restarted_and_stopped(rerankd: Run, tmp_path: Path, port: int) -> None:
    """Every command does what it says, and start returns only when requests are answered."""
    where = f"http://127.0.0.1:{port}"
    started = rerankd("ctl", "start", "--model", "starter", "--port", str(port))
    assert started.returncode == 0, started.stderr
    assert f"default: ready at {where}" in started.stdout
    assert probe.trouble(where) == ""
    assert "running already" in rerankd("ctl", "start", "--model", "starter").stderr
    assert "requests/s" in rerankd("top", where, "--once", "--interval", "0.2").stdout
    assert "ready" in rerankd("ctl", "status").stdout

    first = Daemon(tmp_path / "rerankd", "default").running()
    again = rerankd("ctl", "restart")
    second = Daemon(tmp_path / "rerankd", "default").running()
    assert again.returncode == 0, again.stderr
    assert first and second
    assert (first.pid != second.pid, first.arguments) == (True, second.arguments)
    assert "ready: http" in rerankd("ctl", "logs").stdout

    assert rerankd("ctl", "stop").returncode == 0
    stopped = rerankd("ctl", "status")
    assert (stopped.returncode, stopped.stderr) == (1, "rerankd: instance 'default' is not running\n")


def test_a_service_that_can_not_start_is_told_in_one_line(rerankd: Run) -> None:
    """The reason is the service's own, and nothing is left running."""
    failed = rerankd("ctl", "start", "--port", "99999999")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert "99999999" in failed.stderr
    assert rerankd("ctl", "status").returncode == 1
    assert rerankd("ctl", "start", "--timeout", "nan").returncode == 2


def test_a_start_that_is_interrupted_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it waits: a service without its state file could not be stopped by any command."""

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    daemon = Daemon(tmp_path, "default")
    monkeypatch.setattr(daemon, "_wait_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        daemon.start(["--model", "starter", "--port", "0"], 1.0, os.environ)
    assert daemon.running() is None


def test_a_directory_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    """With the way out; what lies there under the state file's name is no file."""
    (tmp_path / "default.json").mkdir()
    with pytest.raises(StartError, match=r"default\.json can't be written to \(Is a directory\); give --directory"):
        Daemon(tmp_path, "default").start([], 1.0, {})


def test_the_last_lines_of_a_log_are_as_many_as_told(tmp_path: Path, rerankd: Run) -> None:
    """None of them for 0, all for more than there are; fewer than none is a usage error."""
    daemon = Daemon(tmp_path / "rerankd", "default")
    daemon.log_file.write_text("one\ntwo\nthree\n")
    assert [daemon.tail(lines) for lines in (0, 1, 3, 9)] == [[], ["three"], ["one", "two", "three"], ["one", "two", "three"]]
    assert rerankd("ctl", "logs", "-n", "0").stdout == ""
    assert rerankd("ctl", "logs", "-n", "-2").returncode == 2


def test_a_state_file_of_a_dead_service_is_not_believed(tmp_path: Path) -> None:
    """The lock went with the process, so the process id in the file, which may be anybody's by now, is never signalled."""
    daemon = Daemon(tmp_path, "default")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        daemon.state_file.write_text(f'{{"pid": {bystander.pid}, "arguments": [], "address": "", "started_at": 0}}')
        assert daemon.running() is None
        assert daemon.stop(1.0) == 0.0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_service_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    """After the time that requests in flight get, and a second SIGTERM."""
    daemon = Daemon(tmp_path, "default")
    code = (
        "import fcntl, os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: None);"
        "file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(file, fcntl.LOCK_EX);"
        'os.write(file, b\'{"pid": %d, "arguments": [], "address": "", "started_at": 0}\' % os.getpid()); print(flush=True); time.sleep(60)'
    )
    stubborn = subprocess.Popen([sys.executable, "-c", code, str(daemon.state_file)], stdout=subprocess.PIPE)
    assert stubborn.stdout
    with stubborn.stdout:
        stubborn.stdout.readline()
        before = time.monotonic()
        assert daemon.running()
        daemon.stop(0.2)
        assert stubborn.wait() == -signal.SIGKILL
        assert time.monotonic() - before < 10
    assert daemon.running() is None


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"RERANKER_PORT": "9", "RERANKER_HOST": "0.0.0.0", "RERANKER_TLS_CERT": "x"}, "https://0.0.0.0:9"),
        ({"RERANKER_HOST": "::"}, "http://[::]:8000"),
        ({"RERANKER_UDS": "/run/x.sock", "RERANKER_PORT": "9"}, "unix:/run/x.sock"),
        ({"PORT": "18_099", "HOST": "10.0.0.1"}, "http://10.0.0.1:18099"),
        ({"RERANKER_PORT": "tcp://10.0.0.1:8000", "PORT": "9"}, "http://127.0.0.1:9"),
        ({"RERANKER_UDS": "none", "RERANKER_TLS_CERT": "None", "RERANKER_PORT": " "}, "http://127.0.0.1:8000"),
    ],
)
def test_the_health_check_asks_where_the_service_listens(environ: dict[str, str], where: str) -> None:
    """From the same variables as the service reads."""
    assert probe.address(environ) == where


LISTENING = ["RERANKER_HOST", "HOST", "RERANKER_PORT", "PORT", "RERANKER_UDS", "RERANKER_TLS_CERT"]
TEXTS = [
    "",
    " ",
    "none",
    "auto",
    "9",
    " 9 ",
    "18_099",
    "65536",
    "-1",
    "abc",
    "٣",
    "tcp://10.0.0.1:8000",
    " tcp://10.0.0.1:8000",
    "::",
    "/x",
]


@given(st.dictionaries(st.sampled_from(LISTENING), st.sampled_from(TEXTS)))
def test_the_health_check_reads_settings_as_the_service_does(environ: dict[str, str]) -> None:
    """It can't import their declaration, and comes to the same address from any environment, or to the same refusal."""
    try:
        told = load_settings({**environ, "RERANKER_TLS_KEY": environ.get("RERANKER_TLS_CERT", "")})
    except SettingError as refused:
        with pytest.raises(ValueError, match=re.escape(str(refused))):
            probe.address(environ)
        return
    assert probe.address(environ) == own_address(told)


@pytest.mark.parametrize(("port", "words"), [("abc", "RERANKER_PORT='abc' is not allowed"), ("0", "RERANKER_PORT=0 lets the system")])
def test_a_health_check_that_can_not_be_is_one_line(port: str, words: str) -> None:
    """The variable is named, and the exit code says unhealthy."""
    done = subprocess.run(
        [sys.executable, "-m", "service.probe"], env={**os.environ, "RERANKER_PORT": port}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"not ready: {words}")
    assert len(done.stderr.splitlines()) == 1


def test_top_reads_all_settings(rerankd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` too, as `serve` would; a port that only the service knows is asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("RERANKER_UDS=none.sock\n")
    assert "no answer from unix:none.sock" in rerankd("top", "--once").stderr
    (tmp_path / ".env").write_text("RERANKER_PORT=0\n")
    asked = rerankd("top", "--once")
    assert (asked.returncode, "give ADDRESS" in asked.stderr) == (2, True)


def test_nobody_there_is_not_ready(tmp_path: Path, port: int) -> None:
    """The reason names the address."""
    for where in (f"http://127.0.0.1:{port}", f"unix:{tmp_path}/none"):
        assert where in probe.trouble(where)
    assert "an address is http://HOST:PORT" in probe.trouble(f"127.0.0.1:{port}")

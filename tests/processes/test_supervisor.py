"""The supervisor by itself, its pools imitated: what it does when something unforeseen happens, and in which order."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from batching.pool import WorkerSpec
from service import model_files
from service.settings_load import load_settings
from service.standing import Standing
from service.supervisor import SIGNALS, SLOW_START_S, ModelPlan, Supervisor


class Pools:
    """Workers and HTTP processes that are ready at once; what is asked of them is noted in `told`."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.states: list[str] = []
        """What the only worker is, look by look."""

    def poll(self) -> None:
        self.told.append("poll")

    def workers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(state=self.states.pop(0), device="cpu", dtype="float32", backend="fake", budget_tokens=512)]

    def failed(self) -> None:
        return None

    def all_beating(self) -> bool:
        return True

    def running(self) -> bool:
        return False

    def drain(self) -> None:
        self.told.append("drain")

    def stop(self, limit_s: float) -> None:
        self.told.append("stop")

    def kill(self) -> None:
        self.told.append("kill")


@pytest.fixture
def pools() -> Pools:
    return Pools()


@pytest.fixture
def supervisor(short_path: Path, pools: Pools) -> Iterator[Supervisor]:
    """One whose children are imitated."""
    before, limits = [signal.getsignal(number) for number in SIGNALS], resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = load_settings({}, {"port": "0", "model_name": "starter", "runtime_dir": str(short_path), "queue_tokens": "1024"})
    found = Supervisor(settings, [ModelPlan(card=model_files.cards(settings)[0], workers=[WorkerSpec(factory="tests.fakes:make")])])
    found._pools, found._http = [pools], pools  # type: ignore[list-item, assignment]
    yield found
    found._leave.close()
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(("ready", "told"), [(True, ["drain", "kill", "stop"]), (False, ["kill", "stop"])])
def test_an_unforeseen_error_ends_in_order(supervisor: Supervisor, pools: Pools, ready: bool, told: list[str]) -> None:
    """Once callers were let in their requests are finished before all children end; before that there is nothing to wait for."""

    def fail() -> None:
        raise RuntimeError("unforeseen")

    supervisor._said_ready = ready
    pools.poll = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="unforeseen"):
        supervisor.run()
    assert pools.told == told


def test_a_signal_before_the_first_look_is_heeded(supervisor: Supervisor, pools: Pools) -> None:
    """SIGTERM after everything was made and before anything was started: nothing is started, and nothing is left behind."""
    runtime = supervisor._runtime.path
    assert runtime.exists()
    os.kill(os.getpid(), signal.SIGTERM)
    assert supervisor.run() == 0
    assert pools.told == ["drain", "kill", "stop"]
    assert not runtime.exists()


def test_a_worker_that_ends_while_it_is_told_as_ready(
    supervisor: Supervisor, pools: Pools, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What made the service ready is what the log tells, whatever the worker is a moment later."""
    monkeypatch.setattr(supervisor._reporter, "due", lambda _: False)
    pools.states = ["starting", "ready", "draining", "draining"]
    with caplog.at_level("INFO", "rerankd.supervisor"):
        supervisor._poll()
        assert not supervisor._said_ready
        supervisor._poll()
    assert supervisor._said_ready
    assert "(1 workers on cpu, float32, fake, 512 tokens a batch)" in caplog.text


def test_a_start_that_takes_long_says_how_far_it_is(
    supervisor: Supervisor, pools: Pools, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then, not at each look: what hangs can be seen long before it is given up."""
    monkeypatch.setattr(supervisor._reporter, "due", lambda _: False)
    monkeypatch.setattr(supervisor, "_standing", lambda: Standing(models=[], http_processes=2, http_ready=1, forward_limit_s=60.0))
    pools.states = ["starting"] * 3
    with caplog.at_level("INFO", "rerankd.supervisor"):
        supervisor._poll()
        assert not caplog.messages
        supervisor._tell_at -= SLOW_START_S
        supervisor._poll()
        supervisor._poll()
    assert caplog.messages == ["starting: 0 of 0 workers warmed up, 1 of 2 HTTP processes"]

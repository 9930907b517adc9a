"""A server under test is measured when it has loaded all it will, not when it first answers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops.bench import serving
from ops.bench.serving import SETTLED_LOOK_S, SETTLED_LOOKS, Command, Running


class Clock:
    """Time that passes when somebody sleeps, and the processor time that a server has used by then."""

    def __init__(self, used: list[float]) -> None:
        self.now, self._used = 0.0, used

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def cpu_s(self) -> float:
        return self._used[min(round(self.now / SETTLED_LOOK_S), len(self._used) - 1)]


@pytest.mark.parametrize(
    ("used", "looks"),
    [
        ([1.0], SETTLED_LOOKS),  # nothing more to load
        ([1.0, 1.5, 2.0, 2.4, 2.41], 3 + SETTLED_LOOKS),  # a second replica
        ([1.0, 1.0, 1.0, 1.4, 1.4], 3 + SETTLED_LOOKS),  # after a pause
        ([float(number) for number in range(1000)], round(120 / SETTLED_LOOK_S)),  # it never rests
        ([float("nan")], SETTLED_LOOKS),  # a system that does not tell
    ],
)
def test_a_server_is_waited_for_until_it_rests(used: list[float], looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some looks in a row without work, or the limit."""
    clock = Clock(used)
    monkeypatch.setattr(serving, "time", clock)
    monkeypatch.setattr(Running, "cpu_s", lambda _: clock.cpu_s())
    with subprocess.Popen(["true"]) as process:
        Running(Command(["true"], 1), process, Path("log")).wait_settled()
    assert clock.now == pytest.approx(looks * SETTLED_LOOK_S)

"""HTTP processes are forked from one that holds what they share; its death costs none of them, and its parent always knows who lives."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from batching.lifeline import Lifeline
from service.nursery import SUPPORTED, Nursery
from tests.processes.service import Service, ask, asked, lives, living, scorers

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="HTTP processes are forked on Linux only")


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """A nursery without a plan: it ends at once."""
    lifeline = Lifeline()
    with socket.socket() as listener:
        found = Nursery(tmp_path, [listener.fileno()], lifeline.reading)
        yield found
        found.close()
    lifeline.close()


def open_descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


def test_a_nursery_that_dies_first_is_told_as_its_childs_end(nursery: Nursery, capfd: pytest.CaptureFixture[str]) -> None:
    """What was not born has the nursery's exit code, and the next start has a new nursery."""
    first = nursery.start(0)
    assert first.wait(20) == 1
    assert "plan.json" in capfd.readouterr().err
    assert nursery.start(0).wait(20) == 1


def test_who_is_told_to_end_before_birth_is_never_born(nursery: Nursery) -> None:
    """At once, however long the nursery would have taken, and nobody is left behind."""
    child = nursery.start(0)
    before = psutil.Process().children(recursive=True)
    child.send_signal(signal.SIGTERM)
    assert child.wait(2) < 0
    assert child.pid is None
    assert not living(before, 0.0)


def test_a_nursery_that_cannot_be_started_leaves_nothing_open(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has no room for a process: that is told, and costs no descriptor however often it is tried."""

    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no processes are left")

    monkeypatch.setattr(subprocess, "Popen", no_room)
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            nursery.start(0)
    assert open_descriptors() == before


def test_children_outlive_their_nursery_and_are_still_watched() -> None:
    """A killed nursery costs no answer; a process killed after it is noticed, its successor comes from a new nursery, and all are ended."""
    with Service(scorers(), workers=2) as service:
        kept, victim = service.http_processes()
        old = service.nursery()
        old.kill()
        old.wait(5)
        assert asyncio.run(ask(service.address, body=asked("what", ["one"]))).status == 200
        assert lives(kept)
        victim.kill()
        service.until(lambda: len(service.http_processes()) == 1)  # the other is its nursery's orphan
        service.until(service.is_ready)
        assert lives(kept)
        assert service.nursery().pid != old.pid
        assert service.stop() == 0
        assert not living([kept], 5.0)
    assert service.left_behind() == []


def test_a_nursery_that_stands_still_hides_no_death() -> None:
    """It does not say that its child was killed: that is noticed all the same, and the successor comes from a new nursery."""
    with Service(scorers(), workers=2) as service:
        victim, old = service.http_processes()[0], service.nursery()
        old.send_signal(signal.SIGSTOP)
        victim.kill()
        service.until(lambda: bool({one.pid for one in service._children("service.http_nursery")} - {old.pid}), 10.0)
        service.until(service.is_ready)
        assert asyncio.run(ask(service.address, body=asked("what", ["one"]))).status == 200
        assert service.stop() == 0
    assert service.left_behind() == []


def test_a_successor_is_there_at_once_and_shares_the_tokenizer() -> None:
    """No second opening: a killed process is replaced within a moment, and most of each one's memory is common."""
    with Service(scorers(), workers=2) as service:
        victim = service.http_processes()[0]
        began = time.monotonic()
        victim.kill()
        service.until(lambda: victim.pid not in [one.pid for one in service.http_processes()] and len(service.http_processes()) == 2)
        service.until(service.is_ready)
        assert time.monotonic() - began < 2.0
        for one in service.http_processes():
            memory = one.memory_full_info()
            assert memory.uss < 0.75 * memory.rss
            assert one.cmdline()[-1] in ("0000", "0001")


def test_a_process_that_is_still_starting_ends_cleanly(tmp_path: Path) -> None:
    """SIGTERM before it serves: exit code 0 and no trace, whatever it was at."""
    script = (
        "import os, signal, sys, time\n"
        "from service import http_process\n"
        "http_process.heed_signals()\n"
        "print('up', flush=True)\n"
        "time.sleep(30)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""

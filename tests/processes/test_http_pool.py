"""HTTP processes as their parent sees them: what they leave when they die, and when they are stuck, looping or well again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batching.bury import bury
from batching.cut import Cut
from batching.lifeline import Lifeline
from batching.owner import Owner, Stamp
from batching.planner import Limits
from batching.queue import Queue
from batching.queue_files import make_queue, queue_shape
from service import http_pool
from service.http_pool import LIVED_S, POLICY, STUCK_S, HttpPool, cause_of
from service.model_files import starter
from service.processes import EXIT_CANNOT_START, Cause, ProcessView
from tests.fakes import sequences
from tests.processes.service import Service, ask, asked, scorers

BEATS = "import sys, time; sys.path[:0] = {path!r}; from batching.arena import Arena; arena = Arena(__import__('pathlib').Path(sys.argv[1]) / '0' / 'arena.0')\nwhile True: arena.header['owner_beat'][0] = time.monotonic(); time.sleep({pause_s})"
PROGRAMS = {"sleep": "import time; time.sleep(60)", "crash": "raise SystemExit(7)"}


class Site:
    """Two models' queues and one HTTP process that runs another program."""

    def __init__(self, directory: Path, program: str) -> None:
        self.directory, self.lifeline = directory, Lifeline()
        self.queues = [directory / "0", directory / "1"]
        for queue in self.queues:
            make_queue(queue, queue_shape(workers=1, owners=1, limit_tokens=10_000, max_request_scores=10))
        self.listener = socket.socket()
        self.pool = HttpPool(directory, self.queues, [self.listener], self.lifeline, [sys.executable, "-c", program])

    @property
    def view(self) -> ProcessView:
        return self.pool.table.view()[0]

    def until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, self.view
            self.pool.poll()
            time.sleep(0.01)


@pytest.fixture
def site(short_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    program = PROGRAMS.get(request.param, BEATS.format(path=sys.path, pause_s=60 if request.param == "beats once" else 0.1))
    found = Site(short_path, program)
    yield found
    found.pool.kill()
    found.pool.close()
    found.lifeline.close()
    found.listener.close()


def no_descriptors(*_: object, **__: object) -> None:
    """Stands for what needs a descriptor."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def leave_entries(directory: Path, waiting: int) -> None:
    """An HTTP process that put so many entries, of which one is leased, and dies."""
    owner: Owner[int] = Owner(directory, 0)
    owner.arena.reserved_tokens, owner.arena.reserved_requests = 300, 3
    request = sequences([[1, 2, 3]])
    for number in range(waiting):
        assert owner.put(Cut(request, slice(None), 3), Stamp(1e9, float(number), 0, number, b""), number) is not None
    queue = Queue(directory)
    assert queue.lease(0, Limits(3), 1.0)
    queue.close()
    owner.close()  # as the kernel does


@pytest.mark.parametrize("site", ["crash"], indirect=True)
def test_nobody_works_for_a_dead_process(site: Site) -> None:
    """Whatever it left in any model's queue is dropped at the next look and its reservations are free, before a successor is there."""
    for queue in site.queues:
        leave_entries(queue, 5)
    site.until(lambda: site.view.restarts[Cause.CRASH] >= 1)
    for directory in site.queues:
        queue = Queue(directory)
        assert (queue.arenas[0].reserved_tokens, queue.arenas[0].reserved_requests) == (0, 0)
        assert queue.lease(0, Limits(10_000), 2.0) is None
        assert not queue.waiting()
        queue.close()


def test_the_living_are_not_buried(short_path: Path) -> None:
    """While an owner holds its arena nothing of it is cancelled."""
    make_queue(short_path / "q", queue_shape(workers=1, owners=1, limit_tokens=10_000, max_request_scores=10))
    owner: Owner[int] = Owner(short_path / "q", 0)
    owner.arena.reserved_tokens = 5
    assert bury(short_path / "q", 0) == 0
    assert owner.arena.reserved_tokens == 5
    owner.close()
    assert bury(short_path / "q", 0) == 0


@pytest.mark.parametrize("site", ["crash"], indirect=True)
def test_a_crash_loop_is_told(site: Site) -> None:
    """After so many crashes in a row, each waited for longer, the table says so, with the reason; it is counted once."""
    began = time.monotonic()
    site.until(lambda: site.pool.failed() is not None)
    assert time.monotonic() - began > 0.25 + 0.5 + 1.0
    assert (site.view.looping, site.view.crash_loops, site.view.restarts[Cause.CRASH]) == (True, 1, POLICY.max_crashes)
    assert site.pool.failed() == "HTTP process 0 ended with exit code 7"
    assert "exit code 7" in site.pool.table.trouble()


@pytest.mark.parametrize("site", ["beats"], indirect=True)
def test_a_start_that_the_machine_refuses_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptors are left for a while: it counts as crashes in a row, each waited for longer and told, and then all is well."""
    with monkeypatch.context() as patch:
        patch.setattr(http_pool.subprocess, "Popen", no_descriptors)
        now = time.monotonic()
        for step in range(40):
            site.pool.poll(now + 0.1 * step)
    assert (site.view.looping, site.view.restarts[Cause.CRASH]) == (True, POLICY.max_crashes + 1)
    assert site.pool.failed() == "HTTP process 0 can't be started: Too many open files"
    site.pool._children[0].ended_at = 0.0
    site.until(site.pool.all_beating)


@pytest.mark.parametrize("site", ["crash"], indirect=True)
def test_what_cannot_be_dropped_now_is_left_to_the_successor(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process dies while no descriptors are left: its parent goes on."""
    monkeypatch.setattr(http_pool, "bury", no_descriptors)
    site.until(lambda: site.view.restarts[Cause.CRASH] >= 1)


@pytest.mark.parametrize("site", ["sleep"], indirect=True)
def test_a_start_that_hangs_is_told(site: Site) -> None:
    """It has longer than one that served before, since it may be opening large tokenizers; then it is killed, and told at once."""
    began = now = time.monotonic()
    child = site.pool._children[0]
    while not child.stuck:
        site.pool.poll(now)
        now += 1.0
    assert now - began > POLICY.load_limit_s > STUCK_S
    site.until(lambda: site.view.restarts[Cause.STUCK] == 1)
    assert (site.view.looping, site.view.crash_loops) == (True, 1)
    assert site.pool.failed() == "HTTP process 0 did not start within 300 s"


@pytest.mark.parametrize("site", ["beats once"], indirect=True)
def test_hanging_soon_after_the_start_is_a_loop_as_well(site: Site) -> None:
    """A process that is killed as stuck counts by how long it served, not by how long it took to notice."""
    child = site.pool._children[0]
    for crashes in range(1, 4):
        site.until(site.pool.all_beating)
        now = time.monotonic()
        for second in range(int(STUCK_S) + 2):
            site.pool.poll(now + second)
        site.until(lambda crashes=crashes: site.view.restarts[Cause.STUCK] == crashes)  # type: ignore[misc]
        assert child.crashes == crashes
        child.ended_at = 0.0


@pytest.mark.parametrize("site", ["beats"], indirect=True)
def test_a_process_that_lives_ends_the_loop(site: Site) -> None:
    """Once it has run for some seconds the loop is over, and the next crash is the first again."""
    site.pool.table.looping(0, True)
    site.until(site.pool.all_beating)
    child = site.pool._children[0]
    child.crashes, began = POLICY.max_crashes, time.monotonic()
    site.until(lambda: not site.view.looping)
    assert time.monotonic() - began > LIVED_S - 1.0
    assert child.crashes == 0


@pytest.mark.parametrize("site", ["beats once"], indirect=True)
def test_a_machine_that_slept_costs_no_process(site: Site) -> None:
    """Silence counts only while somebody looked: after a gap of any length there is no kill, after STUCK_S of looking there is."""
    site.until(site.pool.all_beating)
    now = time.monotonic()
    site.pool.poll(now)
    pid = site.pool._children[0].process.pid
    site.pool.poll(now + 1000.0)
    for second in range(int(STUCK_S)):
        site.pool.poll(now + 1000.0 + second)
    assert site.pool.running()
    assert not site.pool._children[0].stuck
    site.pool.poll(now + 1001.0 + STUCK_S)
    site.until(lambda: site.view.restarts[Cause.STUCK] == 1)
    assert site.pool._children[0].process is None or site.pool._children[0].process.pid != pid


@pytest.mark.parametrize(
    ("code", "stuck", "cause"),
    [
        (1, False, Cause.CRASH),
        (0, False, Cause.CRASH),
        (-signal.SIGSEGV, False, Cause.CRASH),
        (-signal.SIGABRT, False, Cause.CRASH),
        (-signal.SIGKILL, False, Cause.KILLED),
        (-signal.SIGTERM, False, Cause.KILLED),
        (-signal.SIGKILL, True, Cause.STUCK),
        (EXIT_CANNOT_START, False, Cause.REFUSED),
    ],
)
def test_causes_are_told_apart(code: int, stuck: bool, cause: Cause) -> None:
    """A crash, a kill from outside, a kill of ours and a refusal are counted apart."""
    assert cause_of(code, stuck=stuck) is cause


@pytest.mark.parametrize("site", ["sleep"], indirect=True)
def test_processes_that_cannot_be_killed_hold_nobody_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hangs in the kernel: the stop goes on without it."""

    class Unkillable:
        def kill(self) -> None:
            pass

        def wait(self, timeout: float) -> None:
            time.sleep(timeout)
            raise subprocess.TimeoutExpired("http", timeout)

    monkeypatch.setattr(http_pool, "UNKILLABLE_S", 0.2)
    site.pool._children[0].process = Unkillable()
    began = time.monotonic()
    site.pool.kill()
    assert time.monotonic() - began < 1.0
    site.pool._children[0].process = None


def test_a_process_that_cannot_come_back_is_told(tmp_path: Path) -> None:
    """Its successor refuses to start: the other answers on, but readiness is false and says why, until it can start again."""
    model = tmp_path / "model"
    shutil.copytree(starter(), model)
    aside = tmp_path / "aside"

    async def ready(service: Service) -> tuple[int, str]:
        """As the process that lives tells it; connections to the other wait."""
        for _ in range(50):
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(0.5):
                    answer = await ask(service.address, "/health/ready")
                    return answer.status, answer.json.get("detail", "")
        raise AssertionError("nobody answers")

    async def page(service: Service) -> str:
        for _ in range(50):
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(1.0):
                    return (await ask(service.address, "/metrics")).body.decode()
        raise AssertionError("nobody answers")

    async def main(service: Service) -> None:
        await asyncio.sleep(0.3)  # until the supervisor, too, calls the start done
        model.rename(aside)
        first = service.http_processes()[0]  # not a child of the service's while it changes parents
        service.nursery().kill()  # which has the tokenizer open
        first.kill()
        async with asyncio.timeout(15):
            while (found := await ready(service))[0] == 200:
                await asyncio.sleep(0.1)
        assert found[0] == 503
        assert "tokenizer.json" in found[1]
        told = await page(service)
        assert 'rerankd_http_process_crash_loops_total{process="0"} 1.0' in told
        assert 'rerankd_http_process_crash_looping{process="0"} 1.0' in told
        assert 'rerankd_http_process_crash_looping{process="1"} 0.0' in told
        assert 'rerankd_http_process_restarts_total{process="0",reason="killed"} 1.0' in told
        assert 'rerankd_http_process_restarts_total{process="0",reason="refused"} ' in told
        aside.rename(model)
        async with asyncio.timeout(30):
            while (await ready(service))[0] != 200:
                await asyncio.sleep(0.1)
        assert (await ask(service.address, body=asked("what", ["one"]))).status == 200

    with Service(scorers(), model_name=model, workers=2) as service:
        asyncio.run(main(service))

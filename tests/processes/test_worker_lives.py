"""How workers come and go: loading, idling, standing still, being given up, tried again and stopped; and a parent that nothing holds up."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from batching import pool as pool_module
from batching.cut import Cut
from batching.errors import Unavailable, WorkerLost
from batching.files import FileLock
from batching.lifeline import Lifeline
from batching.owner import Owner, Stamp
from batching.planner import Limits
from batching.pool import UNKILLABLE_S, Pool
from batching.queue_files import make_queue, queue_shape
from batching.worker_view import WorkerState
from tests.fakes import sequences
from tests.processes.engine import BAD, QUICK, Engine, run, some, spec


def test_a_claimer_that_stands_still_stops_nobody_else(short_path: Path) -> None:
    """While the claim is held by one who does nothing, the parent watches on, a dead worker waits for its turn and no other is killed."""

    async def test(engine: Engine) -> None:
        holder = FileLock(engine.directory / "claim")
        busy = [asyncio.ensure_future(engine.right(request)) for request in some(20)]
        await engine.until(lambda: any(worker.forward_running_s > 0 for worker in engine.pool.workers()))
        assert await asyncio.to_thread(holder.acquire, 5.0)
        engine.kill(0)
        took = [await _timed(engine) for _ in range(150)]
        assert max(took) < 1.0
        assert [worker.restarts for worker in engine.pool.workers()] == [0, 0]
        assert engine.worker(1).heartbeat_age_s < 2.0
        holder.close()
        await asyncio.gather(*busy)
        await engine.until(lambda: engine.worker(0).restarts == 1)

    run(Engine(short_path / "q", spec(seconds_per_batch=0.02), spec(seconds_per_batch=0.02)), test)


async def _timed(engine: Engine) -> float:
    """How long one look of the parent takes."""
    began = time.monotonic()
    engine.pool.poll()
    took = time.monotonic() - began
    await asyncio.sleep(0.02)
    return took


def test_many_poisonous_requests_do_not_end_the_service(short_path: Path) -> None:
    """Callers repeat what failed: the worker is given up for a while, which is told, and then answers good requests again."""

    async def test(engine: Engine) -> None:
        for _ in range(2 * QUICK.max_crashes):
            with pytest.raises((WorkerLost, Unavailable)):
                await engine.score(BAD)
        await engine.until(lambda: engine.worker().state == "failed")
        assert "exit code 3" in engine.worker().reason
        assert engine.worker().crash_loops >= 1
        with pytest.raises(Unavailable, match="exit code 3"):
            engine.client.reserve(10)
        assert engine.pool.failed() is None
        await engine.until(lambda: engine.worker().state == "ready")
        await engine.right(some(1)[0])

    run(Engine(short_path / "q", spec(mode="exit")), test)


@pytest.mark.parametrize(("mode", "within_s"), [("raise", 6.0), ("hang", 9.0)])
def test_a_device_that_is_lost_while_idle_is_found_out(short_path: Path, mode: str, within_s: float) -> None:
    """Nobody asks, and yet the worker is replaced: at once when its device raises, after the forward limit when it hangs."""

    async def test(engine: Engine) -> None:
        (short_path / "broken").touch()
        await engine.until(lambda: engine.worker().restarts >= 1, within_s)
        (short_path / "broken").unlink()
        await engine.until(lambda: engine.worker().state == "ready" and engine.worker().forward_age_s < 1.0)
        await engine.right(some(1)[0])

    run(Engine(short_path / "q", spec(mode=mode, device="cuda:0", broken=str(short_path / "broken"))), test)


@pytest.mark.parametrize(
    ("factory", "reason", "restarts"), [("burst", "exit code 1", 4), ("die", "exit code 9", 4), ("refuse", "the weights are gone", 0)]
)
def test_a_worker_that_cannot_load_is_given_up(short_path: Path, factory: str, reason: str, restarts: int) -> None:
    """At once when it says that a new start won't help, else after so many crashes; callers and operators are told why."""

    async def test(engine: Engine) -> None:
        await engine.until(lambda: engine.pool.failed() is not None, 20.0)
        worker = engine.worker()
        assert worker.state == "failed"
        assert reason in worker.reason
        assert worker.restarts == restarts
        with pytest.raises(Unavailable, match=reason):
            engine.client.reserve(10)
        with pytest.raises(Unavailable):
            await engine.score(BAD)
        pids = engine.pool.pids()
        await asyncio.sleep(0.5)
        assert engine.pool.pids() == pids == []

    run(Engine(short_path / "q", spec(factory), wait=False), test)


def test_a_worker_that_does_not_load_in_time_is_told(short_path: Path) -> None:
    """With the limit that it was over, which is not the one of a forward."""

    async def test(engine: Engine) -> None:
        await engine.until(lambda: engine.pool.failed() is not None)
        assert engine.worker().reason == "worker 0 ended with SIGKILL (not loaded within 0.05 s)"

    run(Engine(short_path / "q", spec(), policy=replace(QUICK, load_limit_s=0.05, max_crashes=1), wait=False), test)


def test_a_worker_that_served_is_tried_again_for_ever(short_path: Path) -> None:
    """What can't be loaded now, but was before, is given up for a while only: when the cause has gone it serves again."""

    async def test(engine: Engine) -> None:
        gone.touch()
        engine.kill()
        await engine.until(lambda: engine.worker().crash_loops >= 3)
        assert "the weights are gone" in engine.worker().reason
        gone.unlink()
        await engine.until(lambda: engine.worker().state == "ready")
        await engine.right(some(1)[0])

    gone = short_path / "gone"
    run(Engine(short_path / "q", spec("moody", gone=str(gone))), test)


def test_a_worker_that_stands_still_is_replaced(short_path: Path) -> None:
    """SIGSTOP and nothing more: after the forward limit its leases go to others and it is killed; its callers are answered rightly."""

    async def test(engine: Engine) -> None:
        busy = asyncio.gather(*(engine.right(request) for request in some(40)))
        await engine.until(lambda: engine.worker().forward_running_s > 0)
        began = time.monotonic()
        engine.kill(number=signal.SIGSTOP)
        await engine.until(lambda: engine.worker().restarts == 1, 20.0)
        assert time.monotonic() - began > 0.9 * QUICK.forward_limit_s
        await busy

    run(Engine(short_path / "q", spec(seconds_per_batch=0.05), spec(seconds_per_batch=0.05)), test)


def test_one_slot_that_fails_leaves_the_others(short_path: Path) -> None:
    """A worker that can never load does not keep the healthy one from serving."""

    async def test(engine: Engine) -> None:
        await engine.until(lambda: [worker.state for worker in engine.pool.workers()] == ["failed", "ready"])
        assert engine.pool.failed() is None
        await asyncio.gather(*(engine.right(request) for request in some(20)))

    run(Engine(short_path / "q", spec("refuse"), spec(), wait=False), test)


def test_a_stop_in_order(short_path: Path) -> None:
    """Told to stop, workers finish what they have leased and end by themselves with nothing killed."""

    async def main() -> None:
        async with Engine(
            short_path / "q", spec(seconds_per_batch=0.2, budget_tokens=512), spec(seconds_per_batch=0.2, budget_tokens=512)
        ) as engine:
            asked = [asyncio.ensure_future(engine.right(request)) for request in some(40)]
            await engine.until(lambda: all(worker.forward_running_s > 0 for worker in engine.pool.workers()))
            leased = engine.client.view().leased_entries
            processes = [child.process for child in engine.pool._children]
            began = time.monotonic()
            await asyncio.to_thread(engine.pool.stop, 10.0)
            assert time.monotonic() - began < 5.0
            assert [process.returncode for process in processes if process] == [0, 0]
            await asyncio.sleep(0.1)
            assert sum(task.done() for task in asked) >= 1
            assert engine.client.view().leased_entries == 0 < leased
            for task in asked:
                task.cancel()

    asyncio.run(main())


def test_workers_end_when_their_parent_does(short_path: Path) -> None:
    """The lifeline closes, as it does when the supervisor is killed: busy, idle, loading or hung, all end within 2 s."""

    async def main() -> None:
        specs = [spec(mode="hang"), spec(mode="hang"), spec(load_s=30.0)]
        async with Engine(short_path / "q", *specs, wait=False) as engine:
            await engine.until(lambda: [worker.state for worker in engine.pool.workers()] == ["ready", "ready", "starting"])
            hung = asyncio.ensure_future(engine.score(BAD))
            await engine.until(lambda: any(worker.forward_running_s > 0 for worker in engine.pool.workers()))
            engine.pool.stopping = True
            processes = [child.process for child in engine.pool._children if child.process]
            os.close(engine.lifeline._writing)
            began = time.monotonic()
            while any(process.poll() is None for process in processes):
                assert time.monotonic() - began < 2.0
                await asyncio.sleep(0.01)
            hung.cancel()
            engine.lifeline._writing = os.open(os.devnull, os.O_WRONLY)

    asyncio.run(main())


def test_a_start_that_the_machine_refuses_is_tried_again(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptors are left for a while: it counts as crashes in a row, each waited for longer and told, and then the worker is there."""

    def no_descriptors(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def test(engine: Engine) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(pool_module.subprocess, "Popen", no_descriptors)
            engine.kill()
            await engine.until(lambda: engine.worker().crash_loops == 1)
            assert engine.worker().reason == "worker 0 can't be started: Too many open files"
            assert engine.pool.failed() is None
        await engine.until(lambda: engine.worker().state == "ready")
        await engine.right(some(1)[0])

    run(Engine(short_path / "q", spec()), test)


class Unkillable:
    """A process that hangs in its device's driver: signals are taken and change nothing."""

    pid, returncode = 1, None

    def poll(self) -> None:
        return None

    def kill(self) -> None:
        self.killed = True

    def send_signal(self, number: int) -> None:
        pass

    def wait(self, timeout: float) -> None:
        raise subprocess.TimeoutExpired("worker", timeout)


def test_a_process_that_cannot_be_killed_holds_nobody_up(short_path: Path) -> None:
    """Some seconds after its SIGKILL its leases are free and its slot is filled again; a stop does not wait for it without limit."""
    lifeline = Lifeline()
    make_queue(short_path / "q", queue_shape(workers=1, owners=1, limit_tokens=10_000, max_request_scores=10))
    pool = Pool(short_path / "q", [spec()], QUICK, lifeline, "ERROR")
    child, stuck = pool._children[0], Unkillable()
    owner: Owner[str] = Owner(short_path / "q", 0)
    owner.put(Cut(sequences([[1]]), slice(None), 1), Stamp(1e9, 0.0, 0, 1, b""), "caller")
    child.process, child.started_at = stuck, time.monotonic()
    pool.queue.board.slots["state"][0] = int(WorkerState.READY)
    assert pool.queue.lease(0, Limits(10), time.monotonic())
    began = now = time.monotonic()
    while child.process is stuck:
        now += 0.5
        pool.poll(now)
        assert now - began < 30.0
    assert stuck.killed
    assert now - began > QUICK.forward_limit_s + UNKILLABLE_S
    assert pool.queue.waiting()
    pool.poll(now + 0.1)
    assert child.process is not None
    pool.stop(5.0)
    child.process = stuck
    pool.stop(0.0)
    owner.close()
    pool.close()
    lifeline.close()

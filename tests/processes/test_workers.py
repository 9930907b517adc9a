"""Real worker processes and every way in which one can go: each request gets its one answer, the right one or a typed error."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from batching.errors import Expired, ScoringFailed, WorkerLost
from batching.queue import ENOUGH, KILL
from batching.restart import Policy
from batching.worker import CPU_NICENESS
from tests.processes.engine import BAD, Engine, run, some, spec


def test_workers_share_the_work(short_path: Path) -> None:
    """Two workers and two HTTP processes: everything right, both workers used."""

    async def test(engine: Engine) -> None:
        await asyncio.gather(*(engine.right(request, owner=number % 2) for number, request in enumerate(some(200))))
        assert all(worker.batches for worker in engine.pool.workers())

    run(Engine(short_path / "q", spec(seconds_per_batch=0.002), spec(seconds_per_batch=0.002), owners=2), test)


def test_a_killed_worker_loses_nothing(short_path: Path) -> None:
    """SIGKILL in the middle of a batch: all requests are answered rightly, and its successor is ready within moments."""

    async def test(engine: Engine) -> None:
        answers = asyncio.gather(*(engine.right(request) for request in some(120)))
        for _ in range(3):
            await engine.until(lambda: engine.worker().state == "ready" and engine.worker().forward_running_s > 0)
            restarts = engine.worker().restarts
            engine.kill()
            assert await engine.until(lambda before=restarts: engine.worker().restarts > before) < 1.0
        await answers
        assert engine.worker().restarts == 3

    run(Engine(short_path / "q", spec(seconds_per_token=0.0002, budget_tokens=512)), test)


def test_one_entry_outlives_kills_from_outside(short_path: Path) -> None:
    """The only entry there is happens to be on the device whenever somebody kills the worker: it is innocent, and is answered."""

    async def test(engine: Engine) -> None:
        answer = asyncio.ensure_future(engine.right(some(1)[0]))
        for _ in range(ENOUGH // KILL - 1):
            await engine.until(lambda: engine.worker().state == "ready" and engine.worker().forward_running_s > 0)
            restarts = engine.worker().restarts
            engine.kill()
            await engine.until(lambda before=restarts: engine.worker().restarts > before)
        await answer

    run(Engine(short_path / "q", spec(seconds_per_batch=0.4)), test)


def test_a_pair_that_gets_its_worker_killed_fails_in_the_end(short_path: Path) -> None:
    """As the kernel kills a process for want of memory: it looks like a kill from outside, and so is tried more often, but not for ever."""

    async def test(engine: Engine) -> None:
        found = await asyncio.gather(engine.score(BAD), *(engine.right(request) for request in some(20)), return_exceptions=True)
        assert isinstance(found[0], WorkerLost)
        assert found[1:] == [None] * 20
        assert engine.worker().restarts == ENOUGH // KILL

    run(Engine(short_path / "q", spec(mode="killed", budget_tokens=1 << 20)), test)


def test_another_worker_does_the_work_of_a_dead_one(short_path: Path) -> None:
    """While one worker can't come back quickly, the other answers what it had leased."""

    async def test(engine: Engine) -> None:
        answers = asyncio.gather(*(engine.right(request) for request in some(60)))
        await engine.until(lambda: engine.worker(0).forward_running_s > 0)
        engine.kill(0)
        await asyncio.wait_for(answers, 10.0)
        assert engine.worker(0).state == "starting"

    slow_to_load = spec(seconds_per_token=0.0002, budget_tokens=512, load_s=1.0)
    run(Engine(short_path / "q", spec(seconds_per_token=0.0002, budget_tokens=512, load_s=4.0), slow_to_load), test)


@pytest.mark.parametrize("mode", ["exit", "segfault"])
def test_a_pair_that_kills_its_worker_fails_alone(short_path: Path, mode: str) -> None:
    """After the second crash its request is WorkerLost; all that were batched with it get their scores."""

    async def test(engine: Engine) -> None:
        found = await asyncio.gather(engine.score(BAD), *(engine.right(request) for request in some(40)), return_exceptions=True)
        assert isinstance(found[0], WorkerLost)
        assert found[1:] == [None] * 40
        assert engine.worker().restarts == 2
        await engine.right(some(1)[0])

    run(Engine(short_path / "q", spec(mode=mode, budget_tokens=1 << 20)), test)


def test_a_pair_that_raises_fails_alone(short_path: Path) -> None:
    """An exception on a CPU costs its own request, and no process."""

    async def test(engine: Engine) -> None:
        found = await asyncio.gather(engine.score(BAD), *(engine.right(request) for request in some(40)), return_exceptions=True)
        assert isinstance(found[0], ScoringFailed)
        assert found[1:] == [None] * 40
        assert engine.worker().restarts == 0

    run(Engine(short_path / "q", spec(mode="raise", budget_tokens=1 << 20)), test)


def test_an_error_on_an_accelerator_costs_the_process_not_the_service(short_path: Path) -> None:
    """A context that may be poisoned is given up; the request whose pair did it twice fails, the others don't."""

    async def test(engine: Engine) -> None:
        found = await asyncio.gather(engine.score(BAD), *(engine.right(request) for request in some(20)), return_exceptions=True)
        assert isinstance(found[0], WorkerLost)
        assert found[1:] == [None] * 20
        assert engine.worker().restarts == 2

    run(Engine(short_path / "q", spec(mode="raise", device="cuda:0", budget_tokens=1 << 20)), test)


@pytest.mark.parametrize(("device", "more"), [("cpu", CPU_NICENESS), ("cuda:0", 0)])
def test_a_forward_on_the_cpu_steps_back_for_who_shares_its_cores(short_path: Path, device: str, more: int) -> None:
    """HTTP processes go first there; a GPU's worker, which only feeds it, stands back for nobody."""

    async def test(engine: Engine) -> None:
        await engine.right(some(1)[0])
        assert os.getpriority(os.PRIO_PROCESS, engine.worker().pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + more)

    run(Engine(short_path / "q", spec(device=device)), test)


def test_a_hang_is_found_within_the_forward_limit(short_path: Path) -> None:
    """A forward that does not end is ended with its worker after the limit; its companions and later requests are answered."""

    async def test(engine: Engine) -> None:
        began = time.monotonic()
        others = asyncio.gather(*(engine.right(request) for request in some(20)), engine.right(BAD))
        await engine.until(lambda: engine.worker().restarts == 1)
        assert 1.0 <= time.monotonic() - began < 3.0
        await others

    policy = Policy(forward_limit_s=1.0, backoff_s=0.05)
    run(Engine(short_path / "q", spec(mode="hang", once=str(short_path / "once"), budget_tokens=1 << 20), policy=policy), test)


def test_memory_that_does_not_hold_a_batch_costs_nobody_an_answer(short_path: Path) -> None:
    """Batches over the device's memory are scored in halves, and later ones are smaller."""

    async def test(engine: Engine) -> None:
        await asyncio.gather(*(engine.right(request) for request in some(60)))
        worker = engine.worker()
        assert worker.out_of_memory >= 1
        assert worker.budget_tokens <= 300
        assert worker.restarts == 0

    run(Engine(short_path / "q", spec(memory_tokens=300, budget_tokens=4096)), test)


def test_a_stopped_worker_answers_late_and_harms_nothing(short_path: Path) -> None:
    """SIGSTOP, deadlines pass, rows wait for it; after SIGCONT its late answers are ignored and all rows come back."""

    async def test(engine: Engine) -> None:
        asked = [asyncio.ensure_future(engine.score(request, limit_s=1.0)) for request in some(20)]
        await engine.until(lambda: engine.worker().forward_running_s > 0)
        engine.kill(number=signal.SIGSTOP)
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert any(isinstance(one, Expired) for one in found)
        engine.kill(number=signal.SIGCONT)
        await asyncio.gather(*(engine.right(request) for request in some(20, seed=1)))
        assert engine.worker().restarts == 0

    run(Engine(short_path / "q", spec(seconds_per_batch=0.2, budget_tokens=512), policy=Policy(forward_limit_s=10.0)), test)


def test_a_worker_stopped_for_too_long_is_replaced(short_path: Path) -> None:
    """Its heart stands still for longer than the limit: killed, its leases scored by its successor."""

    async def test(engine: Engine) -> None:
        answers = asyncio.gather(*(engine.right(request) for request in some(20)))
        await engine.until(lambda: engine.worker().forward_running_s > 0)
        engine.kill(number=signal.SIGSTOP)
        await answers
        assert engine.worker().restarts == 1

    run(Engine(short_path / "q", spec(seconds_per_batch=0.05, budget_tokens=512), policy=Policy(forward_limit_s=1.0)), test)


def test_a_machine_that_stood_still_costs_no_worker(short_path: Path) -> None:
    """After a gap in which nobody ran, the parent gives the workers the whole limit again before it believes that they hang."""

    async def test(engine: Engine) -> None:
        engine._polling.cancel()
        later = time.monotonic() + 1000.0
        for moment in (later, later + 1.0, later + 1.9):
            engine.pool.poll(moment)
            await asyncio.sleep(0.1)
            assert len(engine.pool.pids()) == 1
        for moment in (later + 3.5, later + 5.4, later + 7.0):
            engine.pool.poll(moment)
            await asyncio.sleep(0.1)
        assert not engine.pool.pids()
        engine._polling = asyncio.ensure_future(engine._poll())

    run(Engine(short_path / "q", spec(), policy=Policy(forward_limit_s=4.0)), test)

"""Real worker processes and every way in which one can go: each request gets its one answer, the right one or a typed error."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from batching.errors import Expired, ScoringFailed, Unavailable, WorkerLost
from batching.files import FileLock
from batching.queue import ENOUGH, KILL
from batching.restart import Policy
from batching.types import Sequences
from tests.fakes import POISON, sequences
from tests.processes.engine import QUICK, Engine, spec


def some(count: int, seed: int = 0) -> list[Sequences]:
    """Requests of 1 to 12 sequences of 1 to 40 tokens, some with a shared one, none with poison."""
    dice = random.Random(seed)
    return [
        sequences([[dice.randint(1, 600) for _ in range(dice.randint(1, 40))] for _ in range(dice.randint(2, 13))], shared=dice.random() < 0.3)
        for _ in range(count)
    ]  # fmt: skip


BAD = sequences([[3, POISON, 5], [6]])


def run(engine: Engine, test: Callable[[Engine], Awaitable[None]]) -> None:
    """Run a test in an engine, which afterwards has nothing left in use."""

    async def main() -> None:
        async with engine:
            await test(engine)
            await engine.idle()

    asyncio.run(main())


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

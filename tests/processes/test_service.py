"""A whole service whose processes are killed, stopped and crowded: whoever is not on a dead process's connection is answered rightly."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from service.model_files import starter
from tests.live import free_port
from tests.processes.http import Caller, Closed
from tests.processes.service import Service, ask, asked, encoder, is_right, known, living, scorers

WORDS = ["river", "stone", "cloud", "lamp", "bread", "winter", "engine", "paper", "garden", "silver"]
QUERY = "where does the river end"


def texts(seed: int, count: int | None = None) -> list[str]:
    """Documents of 1 to 25 words."""
    dice = random.Random(seed)
    return [" ".join(dice.choices(WORDS, k=dice.randint(1, 25))) for _ in range(count or dice.randint(1, 12))]


def blocked(process: psutil.Process) -> set[signal.Signals]:
    """The signals that a process does not hear."""
    mask = int(re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text()).group(1), 16)
    return {number for number in signal.Signals if mask >> (number - 1) & 1}


class Load:
    """Callers that ask one after the other until told to stop, each on its own connection; every answer is checked."""

    def __init__(self, address: str, callers: int) -> None:
        self.address, self.right, self.wrong, self.closed, self.stopping = address, 0, list[str](), 0, False
        self._tasks = [asyncio.ensure_future(self._ask(number)) for number in range(callers)]

    async def _ask(self, number: int) -> None:
        seed = number * 1000
        async with Caller(self.address) as caller:
            while not self.stopping:
                seed += 1
                documents = texts(seed)
                try:
                    answer = await caller.call("/rerank", asked(QUERY, documents))
                except Closed:
                    self.closed += 1
                    continue
                if answer.status == 200 and is_right(answer, QUERY, documents):
                    self.right += 1
                else:
                    self.wrong.append(f"{answer.status} {answer.body[:200]!r}")

    async def until(self, more: int) -> None:
        """Until so many more were answered rightly."""
        goal = self.right + more
        async with asyncio.timeout(20):
            while self.right < goal:
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self.stopping = True
        async with asyncio.timeout(20):
            await asyncio.gather(*self._tasks)


def test_a_killed_http_process_costs_only_its_own_connections() -> None:
    """SIGKILL mid-request under load: no wrong answer anywhere, closed connections at one process only, and it comes back."""

    async def main(service: Service) -> None:
        load = Load(service.address, 16)
        await load.until(20)
        for _ in range(2):
            victim = service.http_processes()[0]
            theirs = sum(one.status == psutil.CONN_ESTABLISHED for one in victim.net_connections("tcp"))
            before = load.closed
            victim.kill()
            await load.until(100)
            assert load.closed - before <= theirs < 16
            assert len(service.http_processes()) == 2
        await load.stop()
        assert not load.wrong
        assert load.closed >= 1
        assert (await ask(service.address, "/health/ready")).status == 200

    with Service(scorers(2, seconds_per_token=0.0001), workers=2) as service:
        asyncio.run(main(service))
        assert service.stop() == 0
        assert not service.left_behind()


def test_killed_workers_cost_nothing() -> None:
    """SIGKILL of each worker in turn under load: every request is answered rightly, and the workers come back."""

    async def main(service: Service) -> None:
        load = Load(service.address, 16)
        for victim in service.workers():
            await load.until(30)
            victim.kill()
            await load.until(60)
        await load.stop()
        assert not load.wrong
        assert not load.closed
        assert len(service.workers()) == 2
        metrics = (await ask(service.address, "/metrics")).body.decode()
        restarts = [float(line.split()[-1]) for line in metrics.splitlines() if "restarts_total{" in line and "worker" in line]
        assert sum(restarts) == 2

    with Service(scorers(2, seconds_per_token=0.0001)) as service:
        asyncio.run(main(service))


def test_a_killed_supervisor_takes_its_children_along() -> None:
    """All processes are gone within 2 s; what they left is cleared by the next start of the same instance, which serves."""
    with Service(scorers(2), workers=2) as service:
        children = service.parent.children(recursive=True)
        assert len(children) == 5  # two workers, the nursery, two HTTP processes
        assert all(signal.SIGINT in blocked(child) for child in children)  # from their first moment: Ctrl-C at a start makes no tracebacks
        assert signal.SIGINT not in blocked(service.parent)
        service.process.kill()
        assert not living(children, 2.0)
        service.process.wait()
        assert "0/arena.0" in " ".join(service.left_behind())
        port = service.address.rpartition(":")[2]
        with Service(scorers(), base=service.base, port=port) as successor:
            answer = asyncio.run(ask(successor.address, body=asked(QUERY, ["one", "two"])))
            assert is_right(answer, QUERY, ["one", "two"])
            assert successor.stop() == 0
            assert not successor.left_behind()


def test_two_services_side_by_side() -> None:
    """Same machine, same place, two ports: neither notices the other, not even when it is killed."""
    with Service(scorers(seconds_per_batch=0.01)) as first, Service(scorers(mode="exit"), base=first.base, port=free_port()) as second:

        async def main() -> None:
            loads = [Load(service.address, 4) for service in (first, second)]
            await asyncio.gather(*(load.until(20) for load in loads))
            loads[1].stopping = True
            second.process.kill()
            await loads[0].until(20)
            await loads[0].stop()
            assert not loads[0].wrong
            assert not loads[0].closed
            await asyncio.gather(*loads[1]._tasks, return_exceptions=True)
            assert not loads[1].wrong

        asyncio.run(main())


def test_a_drain_finishes_what_was_accepted() -> None:
    """SIGTERM, to all processes as a process group gets it: readiness false at once, requests still taken in the grace, all in flight
    answered rightly, exit 0, nothing left.
    """

    async def main(service: Service) -> None:
        documents = [texts(seed, 8) for seed in range(12)]
        early = [asyncio.ensure_future(ask(service.address, body=asked(QUERY, one))) for one in documents[:8]]
        await asyncio.sleep(0.2)
        for process in service.processes():
            process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        ready = await ask(service.address, "/health/ready")
        assert (ready.status, ready.json["status"]) == (503, "draining")
        late = [asyncio.ensure_future(ask(service.address, body=asked(QUERY, one))) for one in documents[8:]]
        for one, answer in zip(documents, await asyncio.gather(*early, *late), strict=True):
            assert answer.status == 200
            assert is_right(answer, QUERY, one)

    with Service(scorers(seconds_per_batch=0.3), drain_grace=1.0, token_budget=512, workers=2) as service:
        asyncio.run(main(service))
        assert service.process.wait(15) == 0
        assert not service.left_behind()
        assert "worker 0 ended" not in service.log()


@pytest.mark.parametrize("unix", [False, True])
def test_nobody_waits_at_a_service_that_drains(short_path: Path, unix: bool) -> None:
    """After the grace nothing listens any more: a caller is refused at once, to try elsewhere, while those in flight are answered."""

    async def main(service: Service) -> None:
        asking = asyncio.ensure_future(ask(service.address, body=asked(QUERY, ["one"])))
        await asyncio.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert (await ask(service.address, "/health/ready")).status == 503
        await asyncio.sleep(0.8)
        for _ in range(4):
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                async with asyncio.timeout(1.0):
                    await ask(service.address)
        assert not asking.done()
        assert is_right(await asking, QUERY, ["one"])

    place = {"uds": short_path / "s"} if unix else {}
    with Service(scorers(seconds_per_batch=2.0), workers=2, drain_grace=0.6, **place) as service:
        asyncio.run(main(service))
        assert service.process.wait(15) == 0
        assert not service.left_behind()


class Balancer:
    """Callers in front of several services who heed readiness and try once more elsewhere: what a proxy does."""

    def __init__(self, addresses: list[str], callers: int) -> None:
        self._ready, self.right, self.failed, self._stopping = dict.fromkeys(addresses, True), 0, 0, False
        self._tasks = [asyncio.ensure_future(self._probe(address)) for address in addresses]
        self._tasks += [asyncio.ensure_future(self._ask(number)) for number in range(callers)]

    async def _probe(self, address: str) -> None:
        while not self._stopping:
            try:
                async with asyncio.timeout(1):
                    self._ready[address] = (await ask(address, "/health/ready")).status == 200
            except (OSError, Closed, TimeoutError):
                self._ready[address] = False
            await asyncio.sleep(0.05)

    async def _ask(self, number: int) -> None:
        while not self._stopping:
            number += 100
            answered = await self._one(texts(number))
            self.right, self.failed = self.right + answered, self.failed + (not answered)

    async def _one(self, documents: list[str]) -> bool:
        for address in sorted(self._ready, key=lambda address: (not self._ready[address], random.random()))[:2]:
            try:
                async with asyncio.timeout(10):
                    answer = await ask(address, body=asked(QUERY, documents))
            except (OSError, Closed, TimeoutError):
                continue
            if answer.status == 200:
                return is_right(answer, QUERY, documents)
        return False

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)


def test_a_rolling_restart_loses_no_request() -> None:
    """Two services, restarted one after the other under load, behind a balancer: no call fails."""

    async def main(services: list[Service]) -> None:
        balancer = Balancer([service.address for service in services], 8)
        for service in services:
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(service.stop) == 0
            await asyncio.to_thread(service.__enter__)
        await asyncio.sleep(0.5)
        await balancer.stop()
        assert not balancer.failed
        assert balancer.right > 50

    one, other = (Service(scorers(seconds_per_batch=0.02), port=free_port(), drain_grace=0.5) for _ in range(2))
    with one, other:
        asyncio.run(main([one, other]))


def test_a_drain_has_a_limit() -> None:
    """What is not finished within DRAIN_TIMEOUT is told so with 503; then the service ends in order, without a word of complaint."""

    async def main(service: Service) -> None:
        async with Caller(service.address) as caller:
            await caller.send("/rerank", asked(QUERY, ["one"]))
            await asyncio.sleep(0.5)
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            answer = await caller.answer()
            assert 0.9 < time.monotonic() - began < 5.0
            assert answer.status == 503
            assert "stopping" in answer.json["detail"]

    with Service(scorers(seconds_per_batch=8.0), drain_timeout=1.0, workers=2) as service:
        asyncio.run(main(service))
        assert service.process.wait(20) == 0
        assert not service.left_behind()
        assert "Traceback" not in service.log()


def test_a_second_signal_ends_at_once() -> None:
    """While a drain waits for a slow request, another SIGTERM ends everything within moments and leaves nothing."""

    async def main(service: Service) -> None:
        async with Caller(service.address) as caller:
            await caller.send("/rerank", asked(QUERY, ["one"]))
            await asyncio.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            assert service.process.poll() is None
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(service.process.wait, 10)
            assert time.monotonic() - began < 2.0

    with Service(scorers(seconds_per_batch=15.0)) as service:
        children = service.parent.children(recursive=True)
        asyncio.run(main(service))
        assert not living(children, 0.0)
        assert not service.left_behind()


def test_a_reload_does_not_cut_a_drain_short() -> None:
    """SIGHUP while draining is no reason to drop what is in flight."""

    async def main(service: Service) -> None:
        asking = asyncio.ensure_future(ask(service.address, body=asked(QUERY, ["one"])))
        await asyncio.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        service.process.send_signal(signal.SIGHUP)
        assert is_right(await asking, QUERY, ["one"])

    with Service(scorers(seconds_per_batch=2.0)) as service:
        asyncio.run(main(service))


def test_keys_are_read_again(tmp_path: Path) -> None:
    """SIGHUP, to all processes: a new key works and an old one does not, in every HTTP process, without losing a request or a worker."""
    keys = tmp_path / "keys"
    keys.write_text("first: alpha-key\n")

    async def statuses(service: Service, key: str) -> set[int]:
        answers = [await ask(service.address, body=asked(QUERY, ["one"]), Authorization=f"Bearer {key}") for _ in range(8)]
        return {answer.status for answer in answers}

    async def main(service: Service) -> None:
        assert (await statuses(service, "alpha-key"), await statuses(service, "beta-key")) == ({200}, {401})
        keys.write_text("second: beta-key\n")
        workers = service.workers()
        for process in service.processes():
            process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(5):
            while await statuses(service, "beta-key") != {200}:
                await asyncio.sleep(0.05)
        assert await statuses(service, "alpha-key") == {401}
        assert service.workers() == workers

    with Service(scorers(), workers=2, api_keys_file=keys) as service:
        asyncio.run(main(service))


def test_a_port_in_use_fails_the_start() -> None:
    """Within moments, with one line that names the address and the setting, before anything was made."""
    with Service(scorers()) as first:
        port = first.address.rpartition(":")[2]
        with Service(scorers(), wait=False, port=port) as second:
            assert second.process.wait(10) != 0
            assert f"127.0.0.1:{port}" in second.log()
            assert "RERANKER_PORT" in second.log()
            assert "Traceback" not in second.log()
            assert not second.left_behind()
        assert first.is_ready()


@pytest.mark.parametrize(
    ("factory", "reason", "code"),
    [("refuse", "the weights are gone", 1), ("burst", "exit code 1", 1), ("misset", "not for this processor", 2)],
)
def test_a_model_that_cannot_load_fails_the_start(factory: str, reason: str, code: int) -> None:
    """One line with the reason, an exit code that is not 0 (2 for a setting, which only a worker may see), no process and no file left."""
    with Service([(f"tests.fakes:{factory}", {})], wait=False) as service:
        assert service.process.wait(20) == code
        assert [line for line in service.log().splitlines() if line.startswith("rerankd: ") and reason in line]
        assert not service.left_behind()


def test_a_crash_loop_is_told_and_overcome() -> None:
    """While poisonous requests keep killing the only worker readiness is false and says why; afterwards the service is well again."""
    poison = int(encoder().encode("q", ["poison"]).sequences.ids[-2])

    async def main(service: Service) -> None:
        seen = set()
        for _ in range(8):
            seen.add((await ask(service.address, body=asked("what", ["poison"]))).status)
        assert seen <= {500, 503}
        assert 500 in seen
        ready = await ask(service.address, "/health/ready")
        assert ready.status == 503
        assert "exit code 3" in ready.body.decode()
        async with asyncio.timeout(15):
            while (await ask(service.address, "/health/ready")).status != 200:
                await asyncio.sleep(0.1)
        assert is_right(await ask(service.address, body=asked(QUERY, ["one"])), QUERY, ["one"])

    with Service(scorers(mode="exit", poison=poison)) as service:
        asyncio.run(main(service))


def test_a_slow_model_does_not_block_another() -> None:
    """Two models in one service have a queue each: one that is stuck leaves the other's answers quick and right."""

    async def main(service: Service) -> None:
        async with Caller(service.address) as stuck:
            for _ in range(3):
                await stuck.send("/rerank", asked(QUERY, ["one"], model="starter"))
            began = time.monotonic()
            for seed in range(20):
                answer = await ask(service.address, body=asked(QUERY, texts(seed), model="other"))
                assert answer.json["model"] == "other"
                assert is_right(answer, QUERY, texts(seed))
            assert time.monotonic() - began < 4.0

    with Service(scorers(seconds_per_batch=8.0), scorers(), model_name="starter,other", model_path=f",{starter()}") as service:
        asyncio.run(main(service))


def test_a_unix_socket(short_path: Path) -> None:
    """Served there instead of a port, by every HTTP process, and gone after the stop."""
    path = short_path / "rerankd.sock"
    with Service(scorers(), uds=path, workers=2) as service:
        answers = asyncio.run(_several(service.address, 10))
        assert all(is_right(answer, QUERY, ["one", "two"]) for answer in answers)
        assert service.stop() == 0
    assert not path.exists()


async def _several(address: str, count: int):
    return await asyncio.gather(*(ask(address, body=asked(QUERY, ["one", "two"])) for _ in range(count)))


def test_http_processes_stay_small() -> None:
    """No torch and no transformers in them, and at most 200 MB each after some work."""
    with Service(scorers(), workers=2) as service:
        asyncio.run(_several(service.address, 50))
        for process in service.http_processes():
            mapped = Path(f"/proc/{process.pid}/maps").read_text()
            assert "torch" not in mapped
            assert process.memory_info().rss <= 200e6
        assert {process.uids().real for process in service.processes()} == {os.getuid()}


def test_everything_known_is_finite() -> None:
    """The numbers that the tests compare are exact in float32 and differ between documents."""
    scores = known(QUERY, texts(1, 12))
    assert len(set(scores.tolist())) == 12

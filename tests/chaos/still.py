"""Processes that stand still: SIGSTOP of a worker and of an HTTP process, for as long as a test likes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from batching.queue import Queue
from batching.states import LEASED
from tests.chaos import callers
from tests.chaos.report import Report
from tests.chaos.serves import serves
from tests.processes.http import Closed
from tests.processes.service import Service, ask, scorers


def worker_stands_still(report: Report, seconds: float) -> None:
    """SIGSTOP with work leased, deadlines pass, SIGCONT: late answers are ignored, and readiness told the truth all the time."""
    with Service(scorers(seconds_per_batch=0.3), log_level="error") as service:
        [worker] = service.workers()

        async def main() -> None:
            stuck = [asyncio.ensure_future(ask(service.address, body=one.body, X_Request_Timeout="3")) for one in callers.requests(10, 50)]
            await _until_leased(service)
            worker.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            statuses = {answer.status for answer in await asyncio.gather(*stuck)}
            ok = 504 in statuses and statuses <= {200, 429, 504}
            report.must("worker stands still: statuses of those who waited", statuses, "504 and maybe 200, 429", ok)
            while (ready := await ask(service.address, "/health/ready")).status == 200 and time.monotonic() - began < 40.0:
                await asyncio.sleep(0.1)
            report.must("worker stands still: readiness", ready.status, "503", ready.status == 503)
            await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
            worker.send_signal(signal.SIGCONT)

        asyncio.run(main())
        report.tell("worker goes on: ready after, s", service.until(service.is_ready, 30.0))
        began = time.monotonic()
        serves(report, "worker goes on, late answers ignored", service)
        report.tell("worker goes on: all answered after, s", time.monotonic() - began)
        same = [one.pid for one in service.workers()] == [worker.pid]
        report.must("worker goes on: the same process", "yes" if same else "no", "yes", same)


async def _until_leased(service: Service) -> None:
    """A worker is at it: what it was given will be answered late."""
    assert service.runtime
    queue = Queue(service.runtime / "0")
    try:
        async with asyncio.timeout(30):
            while not any((arena.states == LEASED).any() for arena in queue.arenas):
                await asyncio.sleep(0.005)
    finally:
        queue.close()


def http_stands_still(report: Report) -> None:
    """SIGSTOP of an HTTP process: the other answers, and the supervisor replaces the one that does not beat."""
    with Service(scorers(), workers=2, log_level="error") as service:
        victim = service.http_processes()[0]
        victim.send_signal(signal.SIGSTOP)

        async def main() -> int:
            """Callers who open a connection anew when nothing comes, as clients with a timeout do."""
            known, right = callers.requests(10, 50)[0], 0
            for _ in range(40):
                with contextlib.suppress(TimeoutError, OSError, Closed):
                    async with asyncio.timeout(0.5):
                        right += known.is_right(await ask(service.address, body=known.body))
            return right

        right = asyncio.run(main())
        report.must("HTTP process stands still: right answers of the other", right, "some", right > 0)
        took_s = service.until(lambda: victim.pid not in {one.pid for one in service.http_processes()} and service.is_ready(), 60.0)
        report.timed("HTTP process stands still: replaced after, s", took_s, "<= 40", took_s <= 40)
        serves(report, "HTTP process replaced", service)

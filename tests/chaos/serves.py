"""Whether a service that was harmed still answers rightly, and holds nothing back."""

from __future__ import annotations

import asyncio
import time

from tests.chaos import callers
from tests.chaos.kills import left
from tests.chaos.report import Report
from tests.processes.service import Service, ask

KNOWN = 20
PATIENCE_S = 30.0


async def right(address: str, known: callers.Known) -> bool:
    """Ask until there is an answer, and come again where told to, as callers do: a service that just stood still may have no room at once."""
    until = time.monotonic() + PATIENCE_S
    while (answer := await ask(address, body=known.body)).status == 429 and time.monotonic() < until:
        await asyncio.sleep(min(1.0, float(answer.headers["retry-after"])))
    return answer.status == 200 and known.is_right(answer)


async def all_right(address: str, count: int = KNOWN) -> int:
    """How many of so many known requests are answered rightly."""
    return sum(await asyncio.gather(*(right(address, one) for one in callers.requests(10, 50)[:count])))


def serves(report: Report, what: str, service: Service) -> None:
    """It still answers, and nothing is left in its queue."""
    found = asyncio.run(all_right(service.address))
    report.must(f"{what}: right answers", f"{found} of {KNOWN}", "all", found == KNOWN)
    service.until(lambda: not left(service), 30.0)
    report.must(f"{what}: left in the queue", left(service) or 0, "0", not left(service))

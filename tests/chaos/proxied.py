"""Callers on another host, for the proxy's experiment: `python -m tests.chaos.proxied FRONT METRICS RATE SECONDS BACK...`.

Waits until front and backs are ready, prints a line, asks for so long, and prints what became of it as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request

from tests.chaos import callers
from tests.chaos.callers import Pulse, Tally, arrive, by_status
from tests.processes.http import Closed
from tests.processes.service import ask

READY_S = 60.0
KINDS = {callers.good: 0.9, callers.large: 0.1}


async def until_ready(address: str) -> None:
    """Return once it says that it is."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                if (await ask(address, "/health/ready")).status == 200:
                    return
            except (OSError, Closed):
                pass
            await asyncio.sleep(0.05)


def retries(metrics: str) -> dict[str, int]:
    """What the proxy counts: calls it sent again, and those it sent to another instance."""
    with urllib.request.urlopen(f"{metrics}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    found = {}
    for name in ("retry_warnings", "redispatch_warnings"):
        values = [line.split()[-1] for line in lines if line.startswith(f'haproxy_backend_{name}_total{{proxy="instances"')]
        found[name] = int(float(values[0])) if values else -1
    return found


def say(line: str) -> None:
    """A line for whoever started us."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(front: str, metrics: str, rate: str, seconds: str, *backs: str) -> None:
    """No call is repeated here, and nothing but a right ranking counts as an answer."""
    for address in (*backs, front):
        await until_ready(address)
    say("started")
    tally, pulse, began = Tally(()), Pulse(), time.monotonic()
    with pulse:
        await arrive(front, tally, KINDS, float(rate), float(seconds))
    found = {
        "statuses": by_status(tally),
        "right": len(tally.right),
        "failed": len(tally.wrong) + len(tally.closed) + tally.unanswered + tally.not_sent,
        "wrong": tally.wrong[:5],
        "answered at, s": [round(when - began, 3) for _, when, _ in tally.right],
        "seconds": [round(took, 4) for _, _, took in tally.right],
        "pause_s": pulse.longest_s,
        **retries(metrics),
    }
    say(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

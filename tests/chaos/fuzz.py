"""A hostile peer writes random bytes over the arenas while callers ask. It can spoil answers; it must not fell a process or stop the queue."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from batching.errors import RerankdError
from batching.tiles import Tiles
from batching.types import Sequences
from tests.chaos.callers import Pulse
from tests.chaos.hostile import PARTS
from tests.chaos.report import Report
from tests.fakes import expected, sequences
from tests.processes.engine import ROOT, Engine, spec

CALLERS, WORKERS, OWNERS, TILE_BYTES = 16, 2, 2, 300
LATE, LATE_S = "no answer", 10.0
"""Every call has a second to be answered, or told that it is not."""


def some(count: int, dice: random.Random) -> list[Sequences]:
    """Requests of 1 to 12 pairs, a few of them with tiles of images."""
    return [_tiled(_texts(dice, shared=False)) if dice.random() < 0.1 else _texts(dice, shared=dice.random() < 0.3) for _ in range(count)]


def _texts(dice: random.Random, *, shared: bool) -> Sequences:
    texts = [[dice.randint(1, 600) for _ in range(dice.randint(1, 40))] for _ in range(dice.randint(2, 13))]
    return sequences(texts, shared=shared)


def _tiled(request: Sequences) -> Sequences:
    counts = np.arange(len(request.lengths), dtype=np.int32) % 3
    return replace(request, tiles=Tiles(counts, np.full((int(counts.sum()), TILE_BYTES), 7, np.uint8)))


async def ask(engine: Engine, found: Counter[str], known: list[Sequences], number: int, hostile: subprocess.Popen[bytes]) -> None:
    """One caller, as long as the peer writes."""
    while hostile.poll() is None:
        number += 1
        request = known[number % len(known)]
        try:
            scored = await asyncio.wait_for(engine.score(request, limit_s=1.0, owner=number % OWNERS), LATE_S)
            found["right" if np.array_equal(scored.raw, expected(request)) else "spoilt"] += 1
        except RerankdError as error:
            found[type(error).__name__] += 1
        except TimeoutError:
            found[LATE] += 1
        except (LookupError, ValueError, AttributeError) as error:
            found[f"UNTYPED {error!r}"] += 1


EACH_AND_ALL = (*PARTS, ",".join(PARTS))


def run(seconds: float, seed: int = 0, parts: Sequence[str] = EACH_AND_ALL) -> Report:
    """Each part of the arenas alone, then all together."""
    report = Report(f"fuzz: random bytes over the arenas, {seconds / len(parts):.0f} s for each part")
    longest_s = max(asyncio.run(_spoil(report, part, seconds / len(parts), seed)) for part in parts)
    report.stood_still(longest_s)
    return report


async def _spoil(report: Report, part: str, seconds: float, seed: int) -> float:
    """Returns the machine's longest pause."""
    pulse = Pulse()
    found, known, failures = Counter[str](), some(100, random.Random(seed)), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(repr(context.get("exception"))))
    with tempfile.TemporaryDirectory(prefix="rr-") as base:
        async with Engine(Path(base) / "q", *[spec()] * WORKERS, owners=OWNERS) as engine:
            command = [sys.executable, "-m", "tests.chaos.hostile", str(Path(base) / "q"), str(seconds), str(seed), part]
            with pulse, subprocess.Popen(command, cwd=ROOT) as hostile:
                await asyncio.gather(*(ask(engine, found, known, number, hostile) for number in range(CALLERS)))
            report.tell(f"{part}: answers", ", ".join(f"{name} {count}" for name, count in sorted(found.items())))
            untyped = sum(count for name, count in found.items() if name.startswith("UNTYPED")) + len(failures)
            report.must(f"{part}: untyped errors", "; ".join(failures[:2]) or untyped, "0", not untyped)
            report.timed(f"{part}: calls without an answer for {LATE_S:.0f} s", found[LATE], "0", not found[LATE])
            crashes = sum(worker.restarts for worker in engine.pool.workers())
            report.timed(f"{part}: processes felled", crashes, "0", not crashes)
            began = time.monotonic()
            await asyncio.sleep(0.5)
            answers = await asyncio.gather(
                *(engine.right(one, owner=place % OWNERS) for place, one in enumerate(known)), return_exceptions=True
            )
            good = sum(answer is None for answer in answers)
            report.must(f"{part}: right answers afterwards", f"{good} of {len(known)}", "all", good == len(known))
            report.tell(
                f"{part}: rows that stay lost, s to recover",
                f"{sum(client._owner.in_use for client in engine.clients)}, {time.monotonic() - began:.1f}",
            )
    return pulse.longest_s

"""Faults put in one by one, each with what it may cost: full file systems, a wall clock that jumps, a tokenizer that raises, damaged models,
processes that stand still, a thousand idle callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from service import model_files
from tests.chaos import callers
from tests.chaos.full import full_later, no_room_at_start
from tests.chaos.report import Report
from tests.chaos.serves import KNOWN, all_right, serves
from tests.chaos.still import http_stands_still, worker_stands_still
from tests.live import free_port
from tests.processes.http import Answer, Caller, Closed
from tests.processes.service import Service, ask, asked, scorers

INJECTED = Path(__file__).parent / "injected"
LONG_S = 60.0


def tokenizer_raises(report: Report, service: Service) -> None:
    """An error that nobody foresaw while tokenizing fails its request with a body that tells nothing, and no other."""

    async def main() -> tuple[list[Answer], int]:
        bombs = [ask(service.address, body=asked("a tokenizer bomb", ["one"])) for _ in range(10)]
        *answers, right = await asyncio.gather(*bombs, all_right(service.address))
        return answers, right

    answers, right = asyncio.run(main())
    statuses = {answer.status for answer in answers}
    report.must("tokenizer raises: status", statuses, "{500}", statuses == {500})
    told, logged = any(b"can't stand" in answer.body for answer in answers), "can't stand" in service.log()
    report.must("tokenizer raises: its text in the answer, in the log", f"{told}, {logged}", "False, True", logged and not told)
    report.must("tokenizer raises: right answers beside it", f"{right} of {KNOWN}", "all", right == KNOWN)
    serves(report, "tokenizer raises", service)


@contextlib.contextmanager
def shifted_clock(place: Path) -> Iterator[Callable[[int], None] | None]:
    """Children started within the block see a wall clock that is as many seconds off as the callable is told; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        yield None
        return
    library, offset = place / "clock.so", place / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(INJECTED / "clock.c")], check=True)
    offset.write_bytes(bytes(8))

    def shift(seconds: int) -> None:
        with offset.open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))

    os.environ.update(LD_PRELOAD=str(library), CLOCK_OFFSET_FILE=str(offset))
    try:
        yield shift
    finally:
        del os.environ["LD_PRELOAD"], os.environ["CLOCK_OFFSET_FILE"]


def clock_steps(report: Report, service: Service, shift: Callable[[int], None]) -> None:
    """The wall clock jumps by hours, both ways, in all processes, under load: no answer is wrong, refused or late for it."""

    async def main() -> list[int]:
        load = asyncio.ensure_future(_keep_asking(service.address))
        seen = []
        for hours in (1, -2, 24 * 365, 0):
            shift(hours * 3600)
            await asyncio.sleep(0.3)
            seen.append(await _hours_off(service.address))
            right = await all_right(service.address)
            report.must(f"clock steps to {hours:+,} h: right answers", f"{right} of {KNOWN}", "all", right == KNOWN)
        load.cancel()
        return seen

    seen = asyncio.run(main())
    report.must("clock steps: hours off, as answers say when they were made", seen, "[1, -2, 8760, 0]", seen == [1, -2, 8760, 0])
    ended = service.log().count("ended with")
    report.must("clock steps: processes that ended", ended, "0", not ended)
    serves(report, "clock steps", service)


async def _hours_off(address: str) -> int:
    """How far from ours the wall clock of the service is."""
    answer = await ask(address, "/v1/rerank", asked("when", ["now"]))
    return round((int(answer.json["created"]) - time.time()) / 3600)


async def _keep_asking(address: str) -> None:
    while True:
        await asyncio.gather(*(ask(address, body=one.body) for one in callers.requests(10, 50)[:5]))


def damaged_model(report: Report) -> None:
    """A checkpoint with bytes missing: the start fails in time with one line, whatever is missing."""
    for name, damage in DAMAGES.items():
        with tempfile.TemporaryDirectory(prefix="rr-") as base:
            model = Path(base) / "model"
            shutil.copytree(model_files.starter(), model)
            damage(model)
            port = free_port()
            command = [sys.executable, "-m", "service", "serve", "--model", str(model), "--port", str(port), "--runtime-dir", "{base}"]
            with Service(command=[*command, "--replicas", "1"], port=port, wait=False) as service:
                try:
                    code = service.process.wait(100)
                except subprocess.TimeoutExpired:
                    code = 0
                lines = [line for line in service.log().splitlines() if line.startswith("rerankd: ")]
                report.must(f"damaged model ({name}): exit code, lines", f"{code}, {len(lines)}", "not 0, 1", code != 0 and len(lines) == 1)
                service.stop() if code == 0 else None
                report.must(f"damaged model ({name}): files left", len(service.left_behind()), "0", not service.left_behind())


def _cut_weights(model: Path) -> None:
    path = model / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half of the weights": _cut_weights,
    "noise for weights": lambda model: (model / "model.safetensors").write_bytes(os.urandom(1 << 20)),
    "no configuration": lambda model: (model / "config.json").write_text("{"),
    "no tokenizer": lambda model: [path.unlink() for path in (*model.glob("tokenizer*"), *model.glob("vocab*"))],
}


def idle_crowd(report: Report, service: Service, count: int) -> None:
    """So many connections that send half a request and then nothing: everyone else is served."""

    async def main() -> None:
        crowd = [Caller(service.address) for _ in range(count)]
        for place, caller in enumerate(crowd):
            with contextlib.suppress(OSError, Closed):
                await caller.send("/rerank", None if place % 2 else b"", Content_Length="500")
        began = time.monotonic()
        right = await all_right(service.address)
        took = time.monotonic() - began
        report.must(f"{count} idle callers: right answers to others", f"{right} of {KNOWN}", "all", right == KNOWN)
        report.timed(f"{count} idle callers: seconds for these", took, "<= 5", took <= 5)
        for caller in crowd:
            caller.hang_up()

    asyncio.run(main())
    serves(report, f"{count} idle callers gone", service)


def run(seconds: float) -> Report:
    """Those that are quick, and, when there is time, the others too and at full length."""
    report, long = Report("faults"), seconds > LONG_S
    no_room_at_start(report)
    full_later(report)
    worker_stands_still(report, 30.0 if long else 4.0)
    with (
        tempfile.TemporaryDirectory(prefix="rr-") as place,
        shifted_clock(Path(place)) as shift,
        Service(scorers(2, seconds_per_token=0.0001), workers=2, log_level="error", extra_path=INJECTED) as service,
    ):
        if shift:
            clock_steps(report, service, shift)
        else:
            report.tell("clock steps", "not tried: there is no C compiler here")
        tokenizer_raises(report, service)
        idle_crowd(report, service, 900 if long else 200)
    if long:
        http_stands_still(report)
        damaged_model(report)
    return report

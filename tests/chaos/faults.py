"""Faults put in one by one: no room, a full disk, a tokenizer that raises, a damaged model, a worker that stands still, a thousand idle callers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from service import model_files
from tests.chaos import callers
from tests.chaos.kills import left
from tests.chaos.report import Report
from tests.live import free_port
from tests.processes.http import Answer, Caller, Closed
from tests.processes.service import Service, ask, asked, scorers

KNOWN = 20
INJECTED = Path(__file__).parent / "injected"


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A tmpfs of this size; None where mounting is not permitted."""
    place = Path(tempfile.mkdtemp(prefix="rr-"))
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
        == 0
    )
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)
        place.rmdir()


async def all_right(address: str, count: int = KNOWN) -> int:
    """How many of so many known requests are answered rightly."""
    known = callers.requests(10, 50)[:count]
    answers = await asyncio.gather(*(ask(address, body=one.body) for one in known))
    return sum(answer.status == 200 and one.is_right(answer) for one, answer in zip(known, answers, strict=True))


def serves(report: Report, what: str, service: Service) -> None:
    """It still answers, and nothing is left in its queue."""
    found = asyncio.run(all_right(service.address))
    report.must(f"{what}: right answers", f"{found} of {KNOWN}", "all", found == KNOWN)
    service.until(lambda: not left(service))
    report.must(f"{what}: left in the queue", left(service) or 0, "0", not left(service))


def no_room_at_start(report: Report) -> None:
    """The file system can't hold the arenas: an error now and no SIGBUS later."""
    with small_disk(4) as place:
        if place is None:
            report.tell("no room at start", "not tried: mounting is not permitted here")
            return
        with Service(scorers(), base=place / "run", wait=False, **_made(place / "run")) as service:
            code = service.process.wait(20)
            lines = [line for line in service.log().splitlines() if line.startswith("rerankd: no room in")]
            report.must("no room at start: exit code, lines that say so", f"{code}, {len(lines)}", "1, 1", code == 1 and len(lines) == 1)
            report.must("no room at start: files left", len(service.left_behind()), "0", not service.left_behind())


def _made(path: Path) -> dict[str, object]:
    path.mkdir()
    return {}


def full_later(report: Report) -> None:
    """The file system fills up while the service runs: it goes on, counts on, and its processes can still be replaced."""
    with small_disk(48) as place:
        if place is None:
            report.tell("full disk", "not tried: mounting is not permitted here")
            return
        with Service(scorers(), base=place / "run", workers=2, queue_tokens=100_000, **_made(place / "run")) as service:
            _fill(place)
            serves(report, "full disk", service)
            page = asyncio.run(ask(service.address, "/metrics"))
            report.must("full disk: /metrics", page.status, "200", page.status == 200 and b"rerankd_pairs_total" in page.body)
            for victim in (service.workers()[0], service.http_processes()[0]):
                victim.kill()
            service.until(lambda: len(service.workers()) == 1 and len(service.http_processes()) == 2 and service.is_ready(), 15.0)
            serves(report, "full disk, after kills", service)
            (place / "ballast").unlink()
            report.must("full disk: exit code of the stop", code := service.stop(), "0", code == 0)


def _fill(place: Path) -> None:
    with (place / "ballast").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))
            file.flush()


def tokenizer_raises(report: Report) -> None:
    """An error that nobody foresaw while tokenizing fails its request with a body that tells nothing, and no other."""
    with Service(scorers(), extra_path=INJECTED) as service:

        async def main() -> tuple[list[Answer], int]:
            bombs = [ask(service.address, body=asked("a tokenizer bomb", ["one"])) for _ in range(10)]
            *answers, right = await asyncio.gather(*bombs, all_right(service.address))
            return answers, right

        answers, right = asyncio.run(main())
        statuses = {answer.status for answer in answers}
        report.must("tokenizer raises: status", statuses, "{500}", statuses == {500})
        told = any(b"can't stand" in answer.body for answer in answers)
        report.must(
            "tokenizer raises: its text in the answer, in the log",
            f"{told}, {'stand' in service.log()}",
            "no, yes",
            not told and "stand" in service.log(),
        )
        report.must("tokenizer raises: right answers beside it", f"{right} of {KNOWN}", "all", right == KNOWN)
        serves(report, "tokenizer raises", service)


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
                    code = service.process.wait(60)
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


def worker_stands_still(report: Report, seconds: float) -> None:
    """SIGSTOP, deadlines pass, SIGCONT: late answers are ignored, and readiness told the truth all the time."""
    with Service(scorers(seconds_per_batch=0.05), request_timeout=2.0, log_level="error") as service:

        async def main() -> None:
            stuck = [asyncio.ensure_future(ask(service.address, body=one.body)) for one in callers.requests(10, 50)]
            await asyncio.sleep(0.1)
            service.workers()[0].send_signal(signal.SIGSTOP)
            statuses = {answer.status for answer in await asyncio.gather(*stuck)}
            report.must("worker stands still: statuses of those who waited", statuses, "200, 429 and 504", statuses <= {200, 429, 504})
            began = time.monotonic()
            while (ready := await ask(service.address, "/health/ready")).status == 200 and time.monotonic() - began < 15.0:
                await asyncio.sleep(0.1)
            report.must("worker stands still: readiness", ready.status, "503", ready.status == 503)
            await asyncio.sleep(max(0.0, seconds - 4.0))
            service.workers()[0].send_signal(signal.SIGCONT)

        asyncio.run(main())
        back_s = service.until(service.is_ready, 10.0)
        report.tell("worker goes on: ready after, s", back_s)
        serves(report, "worker goes on", service)


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


def idle_crowd(report: Report, count: int) -> None:
    """So many connections that send half a request and then nothing: everyone else is served."""
    with Service(scorers(), workers=2, log_level="error") as service:

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
    """Those that are quick, and, when there is time, the others too."""
    report = Report("faults")
    full_later(report)
    tokenizer_raises(report)
    worker_stands_still(report, 30.0 if seconds > 60 else 4.0)
    if seconds > 60:
        idle_crowd(report, 900)
        http_stands_still(report)
        no_room_at_start(report)
        damaged_model(report)
    return report

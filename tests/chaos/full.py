"""File systems without room: at the start, and while a service runs. A small tmpfs of our own stands for /dev/shm."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.report import Report
from tests.chaos.serves import serves
from tests.processes.service import Service, ask, scorers


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A tmpfs of this size; None where mounting is not permitted."""
    place = Path(tempfile.mkdtemp(prefix="rr-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)
        place.rmdir()


def no_room_at_start(report: Report) -> None:
    """The file system can't hold the arenas: an error now and no SIGBUS later."""
    with small_disk(4) as place:
        if place is None:
            report.tell("no room at start", "not tried: mounting is not permitted here")
            return
        with Service(scorers(), base=_made(place / "run"), wait=False) as service:
            code = service.process.wait(40)
            lines = [line for line in service.log().splitlines() if line.startswith("rerankd: no room in")]
            report.must("no room at start: exit code, lines that say so", f"{code}, {len(lines)}", "1, 1", code == 1 and len(lines) == 1)
            report.must("no room at start: files left", len(service.left_behind()), "0", not service.left_behind())


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def full_later(report: Report) -> None:
    """The file system fills up while the service runs: it goes on, counts on, and its processes can still be replaced."""
    with small_disk(48) as place:
        if place is None:
            report.tell("full disk", "not tried: mounting is not permitted here")
            return
        with Service(scorers(), base=_made(place / "run"), workers=2, queue_tokens=100_000) as service:
            _fill(place)
            before = _answered(service)
            serves(report, "full disk", service)
            counted = _answered(service) - before
            report.must("full disk: answers that the metrics count", counted, "20 or more", counted >= 20)
            for victim in (service.workers()[0], service.http_processes()[0]):
                victim.kill()
                victim.wait(10)
            service.until(lambda: len(service.workers()) == 1 and len(service.http_processes()) == 2 and service.is_ready(), 40.0)
            serves(report, "full disk, after kills", service)
            report.must("full disk: metrics after kills", more := _answered(service) - before, "40 or more", more >= 40)
            (place / "ballast").unlink()
            report.must("full disk: exit code of the stop", code := service.stop(), "0", code == 0)


def _fill(place: Path) -> None:
    with (place / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def _answered(service: Service) -> int:
    """Requests with a ranking, as /metrics counts them."""
    page = asyncio.run(ask(service.address, "/metrics"))
    lines = [line for line in page.body.decode().splitlines() if line.startswith("rerankd_requests_total{") and 'status="200"' in line]
    return int(sum(float(line.split()[-1]) for line in lines)) if page.status == 200 else -1

"""HAProxy in front of two services on hosts of their own, one of which dies under load and comes back: with one retry no call fails."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.chaos.callers import tokens_of
from tests.chaos.hosts import Hosts, lacking, program
from tests.chaos.report import Report, p99
from tests.processes.driver import argument
from tests.processes.engine import ROOT
from tests.processes.service import Service, scorers

CONFIG = ROOT / "ops" / "haproxy" / "haproxy.cfg"
SECONDS_PER_TOKEN, WORKERS, LOAD = 0.0002, 2, 0.8
"""The load is a share of what one service alone can do: the other one must be able to carry it."""
PORT, FRONT, METRICS = 8000, "127.0.0.1:8080", "127.0.0.1:8405"


def missing() -> str:
    """Why this can't be tried here; empty where it can."""
    return "" if not (why := lacking()) and program("haproxy") else why or "haproxy is not installed (package haproxy)"


def configuration(hosts: Hosts) -> str:
    """Ours from ops, but for the addresses of the instances and one retry instead of two."""
    text = CONFIG.read_text("utf-8")
    for number in range(2):
        text = text.replace(f"127.0.0.1:800{number + 1}", f"{hosts.address(number)}:{PORT}")
    text, changed = re.subn(r"^(\s+retries) \d+$", r"\1 1", text, flags=re.MULTILINE)
    assert changed == 1
    return text


def started(hosts: Hosts, number: int) -> Service:
    """A service on a back."""
    base = Path(tempfile.mkdtemp(prefix="rr-"))
    told = {
        "host": hosts.address(number),
        "port": str(PORT),
        "model_name": "starter",
        "runtime_dir": str(base),
        "log_level": "error",
        "workers": "2",
    }
    driver = [sys.executable, "-m", "tests.processes.driver", argument(told, scorers(WORKERS, seconds_per_token=SECONDS_PER_TOKEN))]
    command = [part.replace("{", "{{").replace("}", "}}") for part in hosts.inside(hosts.backs[number], driver)]
    return Service(command=command, base=base, wait=False)


def kill_host(service: Service) -> None:
    """All its processes at once, as when the host dies."""
    for process in service.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    service.process.wait(10)


def run(seconds: float) -> Report:
    """A third of the time each: both there, one dead, both again."""
    report = Report(
        f"proxy: HAProxy with one retry before two services in namespaces, one killed for {seconds / 3:.0f} s of {seconds:.0f} s"
    )
    if why := missing():
        report.tell("not tried", why)
        return report
    rate = LOAD * WORKERS / SECONDS_PER_TOKEN / (0.9 * tokens_of(10) + 0.1 * tokens_of(100))
    with Hosts(2) as hosts, tempfile.TemporaryDirectory(prefix="rr-") as place, contextlib.ExitStack() as services:
        one, _ = (services.enter_context(started(hosts, number)) for number in range(2))
        config = Path(place) / "haproxy.cfg"
        config.write_text(configuration(hosts))
        proxy = hosts.inside(hosts.front, [program("haproxy") or "", "-f", str(config)])
        backs = [f"http://{hosts.address(number)}:{PORT}" for number in range(2)]
        asking = [sys.executable, "-m", "tests.chaos.proxied", f"http://{FRONT}", f"http://{METRICS}", str(rate), str(seconds), *backs]
        with (Path(place) / "haproxy.log").open("wb") as log, subprocess.Popen(proxy, stdout=log, stderr=log) as balancer:
            try:
                with subprocess.Popen(hosts.inside(hosts.front, asking), stdout=subprocess.PIPE, cwd=ROOT) as load:
                    found = _disturb(load, one, services, hosts, seconds)
            finally:
                balancer.terminate()
    _tell(report, found, seconds, rate)
    return report


def _disturb(
    load: subprocess.Popen[bytes], one: Service, services: contextlib.ExitStack, hosts: Hosts, seconds: float
) -> dict[str, object]:
    """Kill a service while callers ask, and start another in its place; what the callers tell at the end."""
    assert load.stdout
    try:
        assert load.stdout.readline() == b"started\n"
        time.sleep(seconds / 3)
        kill_host(one)
        time.sleep(seconds / 3)
        services.enter_context(started(hosts, 0))
        found: dict[str, object] = json.loads(load.stdout.read())
        return found
    finally:
        load.kill()


def _tell(report: Report, found: dict[str, object], seconds: float, rate: float) -> None:
    report.raw.update(found)
    report.tell("calls a second, of what one service can do", f"{rate:.1f}, {LOAD:.0%}")
    report.tell("calls by status", found["statuses"])
    report.must("failed calls", found["failed"], "0", not found["failed"])
    report.must("right answers", found["right"], "some", bool(found["right"]))
    sent_again = int(str(found["retry_warnings"])) + int(str(found["redispatch_warnings"]))
    report.must("calls that HAProxy sent again, to the other one", f"{found['retry_warnings']}, {found['redispatch_warnings']}", "some", sent_again > 0)  # fmt: skip
    times, took = found["answered at, s"], found["seconds"]
    assert isinstance(times, list)
    assert isinstance(took, list)
    for name, first in (("both there", 0.0), ("one dead", seconds / 3), ("both again", 2 * seconds / 3)):
        part = [one for when, one in zip(times, took, strict=True) if first <= when < first + seconds / 3]
        report.tell(f"{name}: right answers a second, p99 in s", f"{len(part) / seconds * 3:.1f}, {p99(part):.3f}")
    report.stood_still(float(str(found["pause_s"])))

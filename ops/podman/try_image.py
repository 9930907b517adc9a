"""Runs a built image as an operator would (read-only, non-root, podman with runc) and checks what the README promises of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

LIMIT_BYTES = 1_600_000_000
READY_S = 120.0
NAME = "rerankd-trial"
PODMAN = ["podman", "--runtime", "runc", "--cgroup-manager=cgroupfs"]
TIGHT = [
    "--network=host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--read-only", "--cap-drop=all",
    "--security-opt=no-new-privileges",
]  # fmt: skip
RUN = ["run", "--detach", "--replace", "--name", NAME, *TIGHT, "--shm-size=256m"]
PATIENT = ["--env", "RERANKER_REQUEST_TIMEOUT=600", "--env", "RERANKER_DRAIN_TIMEOUT=120"]
"""A busy machine's measured rate would have the large request refused at once, for a deadline that it can't meet."""
BUILD_TOOLS = "gcc g++ cc make ninja nvcc pip pip3 git curl"
QUERY = {
    "query": "What is the capital of France?",
    "documents": ["Bananas are yellow.", "Paris is the capital of France.", "Berlin lies on the Spree."],
}


class Failed(Exception):
    """A promise that the image does not keep."""


def podman(*arguments: str, check: bool = True) -> str:
    """Run podman; returns what it wrote."""
    done = subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Failed(f"podman {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def call(port: int, path: str, body: Any = None) -> tuple[int, str]:
    """One HTTP call: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    with contextlib.closing(connection):
        headers = {"content-type": "application/json"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(image: str, port: int, *options: str) -> Iterator[float]:
    """A container of the image, ready; gives the seconds that took."""
    started = time.monotonic()
    podman(*RUN, *options, *PATIENT, "--env", f"RERANKER_PORT={port}", image)
    try:
        yield _wait(port, started)
    finally:
        podman("rm", "--force", "--time", "0", NAME, check=False)


def _wait(port: int, started: float) -> float:
    while time.monotonic() - started < READY_S:
        with contextlib.suppress(OSError):
            if call(port, "/health/ready")[0] == 200:
                return time.monotonic() - started
        if not podman("ps", "--quiet", "--filter", f"name={NAME}"):
            raise Failed("the container ended by itself")
        time.sleep(0.2)
    raise Failed(f"not ready within {READY_S:.0f} s:\n{podman('logs', NAME, check=False)}")


def expect(what: str, true: bool, told: object = "") -> None:
    """Print a promise that is kept, or raise."""
    if not true:
        raise Failed(f"{what}: {told}")
    print(f"  ok  {what}" + (f" ({told})" if told != "" else ""))


def size(image: str) -> None:
    """The image's size, labels and health check."""
    found = json.loads(podman("image", "inspect", image))[0]
    expect(f"at most {LIMIT_BYTES / 1e9:.1f} GB without a model", found["Size"] <= LIMIT_BYTES, f"{found['Size'] / 1e9:.2f} GB")
    labels = found["Labels"] or {}
    expect("OCI labels", {"title", "version", "revision", "created", "licenses"} <= {name.rpartition(".")[2] for name in labels})
    expect("HEALTHCHECK", "service.probe" in str(found.get("Healthcheck") or found["Config"].get("Healthcheck")))
    expect("a user that is not root", found["User"] == "10001:10001", found["User"])


def inside(port: int) -> None:
    """What a shell inside the container sees."""
    expect("runs as", podman("exec", NAME, "id", "-u") == "10001", "uid 10001")
    expect("the root file system is read-only", "Read-only" in _stderr("exec", NAME, "sh", "-c", "echo x > /opt/rerankd/x"))
    found = podman("exec", NAME, "sh", "-c", f"for tool in {BUILD_TOOLS}; do command -v $tool; done", check=False)
    expect("no build tools", not found, found)
    lacking = podman("exec", NAME, "/opt/rerankd/bin/python", "-c", "from batching.scoring.onednn import library; print(library.missing())")
    expect("our C is compiled", "compiler" not in lacking, f"what this processor lacks for it: {lacking}")
    expect("health check", not _stderr("healthcheck", "run", NAME))
    expect("is told to podman", podman("inspect", "-f", "{{.State.Health.Status}}", NAME) == "healthy", "healthy")
    status, body = call(port, "/v1/rerank", {**QUERY, "model": "starter"})
    best = json.loads(body)["results"][0] if status == 200 else {}
    expect("a ranking", best.get("index") == 1, f"{best.get('relevance_score', body)}")
    status, page = call(port, "/metrics")
    expect("metrics", status == 200 and "rerankd_pairs_total" in page and "rerankd_worker_up" in page, f"{len(page.splitlines())} lines")
    expect("the image's own process is the service", "rerankd" in podman("top", NAME, "args").splitlines()[1])


def _stderr(*arguments: str) -> str:
    done = subprocess.run([*PODMAN, *arguments], capture_output=True, text=True, check=False)
    return done.stderr + done.stdout


def drain(port: int) -> None:
    """SIGTERM while a large request is under way: it is answered, and the container ends with 0."""
    answers: list[tuple[int, str]] = []
    large = {"query": "capital", "documents": [f"document {index} " + "word " * 120 for index in range(300)]}
    caller = threading.Thread(target=lambda: answers.append(call(port, "/v1/rerank", large)))
    caller.start()
    _until(lambda: _reserved(call(port, "/metrics")[1]) > 0, answers)
    started = time.monotonic()
    podman("kill", "--signal", "TERM", NAME)
    code = podman("wait", NAME)
    caller.join()
    expect("SIGTERM finishes what is in flight", answers[0][0] == 200 and len(json.loads(answers[0][1])["results"]) == 300)
    expect("and ends", code == "0", f"exit {code} after {time.monotonic() - started:.1f} s")


def _reserved(page: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith("rerankd_queue_reserved_tokens{"))


def _until(true: Callable[[], bool], answers: list[tuple[int, str]]) -> None:
    until = time.monotonic() + 20
    while not true():
        if time.monotonic() > until or answers:
            raise Failed(f"the large request was not seen in the queue; its answer: {answers or 'none yet'}"[:300])
        time.sleep(0.01)


def cramped(image: str) -> None:
    """A start that can't succeed ends at once, with one line that says why."""
    done = subprocess.run([*PODMAN, "run", "--rm", *TIGHT, "--shm-size=8m", image], capture_output=True, text=True, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("rerankd:")]
    expect("too small a /dev/shm is told", done.returncode == 1 and len(told) == 1, told or done.stderr)


def starved(image: str) -> None:
    """A model that the container's memory can't hold is refused at once, with the figures."""
    command = [*PODMAN, "run", "--rm", *TIGHT, "--shm-size=256m", "--memory=300m", image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("rerankd:")]
    if not told and "cgroup" in done.stderr:
        print(f"  --  too little memory: this machine's podman can't limit it ({done.stderr.strip().splitlines()[-1][:120]})")
        return
    expect("too little memory is told", done.returncode == 1 and "of memory" in told[0], told or done.stderr)


def main(plain: str, baked: str) -> None:
    """Try both images."""
    print(plain)
    size(plain)
    print(baked)
    port = free_port()
    with running(baked, port) as seconds:
        expect("ready", True, f"{seconds:.1f} s after start, nothing mounted, nothing downloaded")
        inside(port)
        drain(port)
    cramped(baked)
    starved(baked)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Failed as failure:
        sys.exit(f"FAILED: {failure}")

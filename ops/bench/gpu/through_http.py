"""The same card through HTTP, with the load on the same machine; nothing where the service's packages are missing."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.bench import load
from ops.bench.serving import StartFailure, rerankd_command, serving
from service.load.workload import Shape, count_tokens, make_requests

PACKAGES = ("litestar", "granian", "rich_click", "dotenv", "prometheus_client", "uvloop")
WORDS_PER_TOKEN = 0.75
KEPT = ("requests_s", "pairs_s", "tokens_s", "p50_ms", "p99_ms", "errors", "generator_cores")
Row = dict[str, Any]


def missing() -> list[str]:
    """Return the packages without which the service can't be started."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def shape(tokens: int, sigma: float, documents: tuple[int, int]) -> Shape:
    """Return requests whose pairs have about so many tokens; what they come to is counted afterwards."""
    words = max(4.0, (tokens - 14) * WORDS_PER_TOKEN)
    return Shape(median_words=words, sigma=sigma, high_words=4000, query_words=(6, 6), documents=documents)


def busy_s(url: str) -> float:
    """Return the seconds that the service's workers have spent in forwards so far."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^rerankd_worker_busy_seconds_total\{[^}]*\} (\S+)$", text, re.MULTILINE))


@contextlib.contextmanager
def watching_card() -> Iterator[list[float]]:
    """Collect what nvidia-smi says of the card's use, in percent, five times a second; nothing where there is no nvidia-smi."""
    found: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield found
        return
    try:
        yield found
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=10)
        found += [float(line) for line in output.splitlines() if line.strip().isdigit()]


def rows(model: Path, directory: Path, *, device: str, tokens: int, sigma: float, callers: tuple[int, ...], processes: int,
         seconds: float) -> list[Row]:  # fmt: skip
    """Measure one fresh service: one caller with 20 documents of 128 tokens, then ever more callers with mixed requests."""
    command = rerankd_command(model, device=device, workers=processes, token_cache_bytes=0)
    found: list[Row] = []
    try:
        with serving(command, directory / "logs" / "gpu.log", limit_s=150) as running:
            for count in (1, *callers):
                texts = make_requests(200, shape(128, 0.0, (20, 20)) if count == 1 else shape(tokens, sigma, (20, 20)))
                counted = [sum(min(one, 512) for one in request) for request in count_tokens(texts, model / "tokenizer.json").per_request]
                plan = load.Plan(running.url, callers=count, warmup_s=min(2.0, seconds), seconds=seconds, timeout_s=30)
                before, began = busy_s(running.url), time.monotonic()
                with watching_card() as card:
                    summary = load.run_apart(plan, texts, counted, directory)
                busy = (busy_s(running.url) - before) / (time.monotonic() - began)
                middle = card[len(card) // 3 : -1]  # without the load generator's start
                found.append({"model": model.name, "callers": count, **{name: summary[name] for name in KEPT}, "forwards under way": busy,
                              "card busy": sum(middle) / len(middle) / 100 if middle else None})  # fmt: skip
    except (StartFailure, subprocess.CalledProcessError) as error:
        found.append({"model": model.name, "note": str(error).strip().splitlines()[-1][:200]})
    return found

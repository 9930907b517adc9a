"""Clocks for work on a device: how fast its matrix unit and memory are, how long batches and single requests take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

import torch

from batching.types import Collect, Pack, Scorer
from service.load.stats import percentile

WARM_UPS, BLOCKS = 3, 5
BLOCK_S, MOST_IN_BLOCK = 0.02, 500


def wait(device: str) -> None:
    """Return when the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], Any], device: str) -> float:
    """Return the median seconds of a piece of device work, in blocks of so many that waiting for the device costs nothing beside them."""
    _block(run, device, WARM_UPS)
    count = min(MOST_IN_BLOCK, max(1, round(BLOCK_S / max(_block(run, device, 1), 1e-6))))
    return median(_block(run, device, count) / count for _ in range(BLOCKS))


def _block(run: Callable[[], Any], device: str, count: int) -> float:
    wait(device)
    began = time.perf_counter()
    for _ in range(count):
        run()
    wait(device)
    return time.perf_counter() - began


def matrix_rate(device: str, dtype: str, rows: int, inner: int, columns: int) -> float:
    """Return FLOP/s of x[rows, inner] @ w[columns, inner].T on random data. "float8": rowwise scaled, e4m3."""
    x = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    w = torch.randn(columns, inner, device=device, dtype=torch.bfloat16)
    if dtype == "float8":
        a, b = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn).t()
        row, column = torch.ones(rows, 1, device=device), torch.ones(1, columns, device=device)

        def product() -> Any:
            return torch._scaled_mm(a, b, scale_a=row, scale_b=column, out_dtype=torch.bfloat16)
    else:
        typed, weight = x.to(getattr(torch, dtype)), w.to(getattr(torch, dtype))

        def product() -> Any:
            return torch.nn.functional.linear(typed, weight)

    return 2 * rows * inner * columns / seconds_of(product, device)


def copy_rate(device: str, size: int) -> float:
    """Return bytes a second of a copy on the device, read and written both counted."""
    source = torch.randint(0, 255, (size,), device=device, dtype=torch.uint8)
    there = torch.empty_like(source)
    return 2 * size / seconds_of(lambda: there.copy_(source), device)


def batches(scorer: Scorer, packs: Iterable[Pack], depth: int) -> float:
    """Score packs as a worker does, `depth` on the device at once; return the seconds until the last scores are here."""
    flying: deque[Collect] = deque()
    began = time.perf_counter()
    for one in packs:
        flying.append(scorer.launch(one))
        if len(flying) >= depth:
            flying.popleft()()
    while flying:
        flying.popleft()()
    return time.perf_counter() - began


def latencies(scorer: Scorer, packs: Iterable[Pack]) -> dict[str, float]:
    """Score packs one at a time; return p50 and p99 milliseconds, and of launching alone, which is the host's part."""
    whole, launch = [], []
    for one in packs:
        began = time.perf_counter()
        collect = scorer.launch(one)
        launch.append((time.perf_counter() - began) * 1e3)
        collect()
        whole.append((time.perf_counter() - began) * 1e3)
    return {"p50_ms": percentile(whole, 0.5), "p99_ms": percentile(whole, 0.99), "launch_ms": percentile(launch, 0.5)}

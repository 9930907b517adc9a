"""What `rerankd bench` measured, as it is kept in a file and read by `rerankd plan`, and what a service says of itself in /info."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from batching.calibrate import Point
from batching.errors import StartError
from service import probe


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One batch size of /info's `batch_curve`."""

    tokens: int
    ms: float


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The part of /info that a measurement needs; other servers' answers have other parts of it."""

    model_id: str = "unknown"
    device: str = "unknown"
    model_dtype: str = "unknown"
    version: str = "unknown"
    max_batch_tokens: int = 0
    max_concurrent_batches: int = 0
    inference_threads: int | None = None
    batch_curve: list[CurvePoint] = []

    def points(self) -> list[Point]:
        """Return the curve as it was measured."""
        return [Point(point.tokens, point.ms / 1e3) for point in self.batch_curve if point.ms > 0]


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One number of callers: rates a second, latencies in milliseconds."""

    callers: int
    requests_s: float
    pairs_s: float
    tokens_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    errors: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One `rerankd bench`."""

    date: str
    machine: str
    url: str
    requests: str
    """The distribution of documents and lengths, in words."""
    about: About
    loads: list[Load]

    def efficiency(self) -> float | None:
        """The best rate through HTTP over what the workers' curve promises together; None where either is unknown."""
        points = [point for point in self.about.points() if point.tokens <= self.about.max_batch_tokens]
        best = max((load.tokens_s for load in self.loads), default=0.0)
        if not points or not best or not self.about.max_concurrent_batches:
            return None
        return min(1.0, best / (self.about.max_concurrent_batches * max(point.rate for point in points)))


def about(url: str, headers: Mapping[str, str]) -> About:
    """Ask a service what it serves; one that does not say is unknown. Raises StartError where nobody answers."""
    try:
        status, body = probe.ask(url, "/info", headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StartError(f"no answer from {url} ({error})") from error
    if status == 401:
        raise StartError(f"{url} asks for a key; give --key")
    try:
        found: dict[str, Any] = msgspec.json.decode(body) if status == 200 else {}
        return msgspec.convert(found, About)
    except msgspec.MsgspecError:
        return About()


def read(path: Path) -> Measured:
    """Read what `rerankd bench --save` wrote. Raises StartError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Measured)
    except (OSError, msgspec.MsgspecError) as error:
        raise StartError(f"{path} is no measurement of `rerankd bench --save` ({error})") from error

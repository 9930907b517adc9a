"""The OpenAPI document and the pages that show it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec

from service.health import Verdict

POLICY = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"


@functools.cache
def asset(name: str) -> bytes:
    """Return a page of this package."""
    return (Path(__file__).parent / "assets" / name).read_bytes()


def service_info(models: list[str], verdict: Verdict) -> dict[str, Any]:
    return {"service": "rerankd"}


@functools.cache
def document() -> bytes:
    return msgspec.json.encode({"openapi": "3.1.0"})

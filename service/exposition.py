"""Prometheus' page as text, in its plain format and in OpenMetrics. Pure: what stands on the page is `metrics*.py`'s.

Written out here since it is asked for while requests wait: the client library's page took 18 ms of a core for what takes one this way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from prometheus_client.exposition import choose_encoder

Kind = Literal["counter", "gauge", "histogram"]
Sample = tuple[str, float]
"""A series' whole name, labels included, and its value."""
TOTAL = "_total"
_OPEN = "application/openmetrics-text"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Family(msgspec.Struct, frozen=True):
    """Series of one name. A counter's `name` is without its `_total`, which its samples' names have."""

    name: str
    help: str
    kind: Kind
    samples: Iterable[Sample]


def media_type(accept: str) -> str:
    """Return the media type that an Accept header asks for."""
    found: str = choose_encoder(accept)[1]
    return found


def render(families: Iterable[Family], media_type: str) -> bytes:
    """Return the page in the format that goes by this media type."""
    open_metrics = media_type.startswith(_OPEN)
    lines: list[str] = []
    for family in families:
        name = family.name + TOTAL if family.kind == "counter" and not open_metrics else family.name
        lines.append(f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}")
        lines += [f"{series} {number(value)}" for series, value in family.samples]
    if open_metrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def number(value: float) -> str:
    """Write a value as Prometheus reads it."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def labels(**values: str) -> str:
    """Write labels, without the braces."""
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in values.items())


def series(name: str, written: str) -> str:
    """Return a series' whole name; `written` by `labels`."""
    return f"{name}{{{written}}}" if written else name


def bucket_series(name: str, written: str, bounds: Iterable[float]) -> list[str]:
    """Return the names of a histogram's series: a bucket for each of the bounds and one for all, the count, the sum."""
    rest = f",{written}" if written else ""
    buckets = [f'{name}_bucket{{le="{number(bound)}"{rest}}}' for bound in (*bounds, math.inf)]
    return [*buckets, series(f"{name}_count", written), series(f"{name}_sum", written)]


def bucket_samples(names: list[str], cumulative: Sequence[float], total: float) -> list[Sample]:
    """Return a histogram's samples; `names` by `bucket_series`."""
    return list(zip(names, (*cumulative, cumulative[-1], total), strict=True))


def from_library(metric: Any) -> Family:
    """Return a family that the client library made."""
    samples = [(series(sample.name, labels(**dict(sorted(sample.labels.items())))), float(sample.value)) for sample in metric.samples]
    return Family(metric.name, metric.documentation, metric.type, samples)

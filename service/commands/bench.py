"""`rerankd bench`: loads a running service, or a fresh one, with ever more callers, and draws latency against throughput."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from batching.errors import StartError
from service import measured, placement, probe
from service.commands.options import Finite
from service.daemon import Daemon
from service.load import picture, runs
from service.load.chart import chart
from service.load.connection import Target
from service.load.shapes import SHAPES
from service.load.workload import Shape, make_requests
from service.measured import About, Load, Measured
from service.standing import short

SERVE = {"ignore_unknown_options": True, "allow_interspersed_args": True}
START_S, STOP_S = 600.0, 60.0


class Callers(click.ParamType):  # type: ignore[type-arg]  # generic in some releases of click only
    """Numbers of callers, 1,2,4."""

    name = "numbers"

    def convert(self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Read a list with commas; anything but whole numbers from 1 to 4096 is a usage error."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdigit() and 1 <= int(part) <= 4096 for part in parts):
            self.fail(f"{value!r} is no list of whole numbers from 1 to 4096, like 1,4,16", param, ctx)
        return tuple(int(part) for part in parts)


class Written(click.Path):
    """A file to write when the measurement is done: that it can be is looked at before."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read a path; one that can't be written is a usage error."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not _writable(path):
            self.fail(f"{str(path)!r} can't be written: {str(path.parent)!r} is no directory that we may write to", param, ctx)
        return path


def _writable(path: Path) -> bool:
    try:
        return path.exists() or (path.parent.is_dir() and os.access(path.parent, os.W_OK))
    except PermissionError:
        return False


@click.command("bench", context_settings=SERVE)
@click.option("--url", help="A service that runs (http://HOST:PORT or unix:PATH); without it a fresh one is started with OPTIONS.")
@click.option("--callers", type=Callers(), default="1,2,4,8,16,32,64", show_default=True, help="Concurrent callers, one run each.")
@click.option("--seconds", default=5.0, show_default=True, type=Finite(0.1, 3600), help="Measured seconds of each run.")
@click.option("--warmup", default=1.0, show_default=True, type=Finite(0, 3600), help="Seconds of load before each window.")
@click.option(
    "--documents", nargs=2, type=click.IntRange(1, 10000), default=(4, 32), show_default=True, help="Documents a request: from, to."
)
@click.option("--words", default=70.0, show_default=True, type=Finite(1, 100000), help="Median words of a document (log-normal).")
@click.option("--sigma", default=0.55, show_default=True, type=Finite(0, 3), help="Spread of the lengths; 0: all the same.")
@click.option("--dialect", type=click.Choice(sorted(SHAPES)), default="native", show_default=True, help="What the service is spoken to in.")
@click.option("--key", envvar="RERANKD_KEY", help="A key, where the service asks for one. [RERANKD_KEY]")
@click.option("--plot", type=Written(), help="Write the curve as PNG (needs the extra `bench`).")
@click.option("--save", type=Written(), help="Write the figures as JSON, for `rerankd plan --measured`.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[SERVE OPTIONS]...")
def command(
    url: str | None, callers: tuple[int, ...], seconds: float, warmup: float, documents: tuple[int, int], words: float, sigma: float,
    dialect: str, key: str | None, plot: Path | None, save: Path | None, options: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure rates and latencies of the service at --url, or of a fresh `rerankd serve OPTIONS` that ends with the measurement."""
    if url and options:
        raise click.UsageError(f"{' '.join(options)}: options of `rerankd serve` go with a fresh service, not with --url")
    if documents[0] > documents[1]:
        raise click.UsageError(f"--documents {documents[0]} {documents[1]}: the first number is the least, the second the most")
    if plot:
        _need_matplotlib()
    shape = Shape(median_words=words, sigma=sigma, high_words=max(Shape().high_words, round(words * 6)), documents=documents)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    progress = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        where = url or stack.enter_context(_fresh(options, progress))
        found = measured.about(_checked(where), headers)
        plan = runs.Plan(
            where, dialect, warmup_s=warmup, seconds=seconds, headers=tuple(f"{name}: {value}" for name, value in headers.items())
        )
        with progress.status("") as status:
            loads = []
            for count in callers:
                status.update(f"{count} callers, {warmup + seconds:g} s")
                loads.append(_load(plan, count, shape))
    result = Measured(date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), machine=_machine(), url=url or "a fresh service",
                      requests=shape.describe(), about=found, loads=loads)  # fmt: skip
    show(Console(), result)
    if save:
        save.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    if plot:
        picture.draw([msgspec.to_builtins(load) for load in loads], plot, f"{_title(found)}, {result.machine}, {result.date}")


@contextlib.contextmanager
def _fresh(options: tuple[str, ...], progress: Console) -> Iterator[str]:
    """Run a service of our own for as long as the block; yields its address. Raises StartError with its last words."""
    port = () if {"--port", "--uds"} & {option.partition("=")[0] for option in options} else ("--port", "0")
    with tempfile.TemporaryDirectory(prefix="rerankd-bench-") as made:
        daemon = Daemon(Path(made), "bench")
        try:
            with progress.status("starting a service"):
                started = daemon.start([*port, *options], START_S, os.environ)
            yield started.address
        finally:
            daemon.stop(STOP_S)


def _checked(url: str) -> str:
    """Return a URL that can be loaded now. A server of another kind has no such health check, and is believed. Raises StartError."""
    try:
        Target.parse(url)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if (reason := probe.trouble(url)) and reason != "status 404":
        raise StartError(f"{url} is not ready: {reason}")
    return url


def _load(plan: runs.Plan, callers: int, shape: Shape) -> Load:
    requests = make_requests(500, shape)
    summary, _ = runs.measured(replace(plan, callers=callers), runs.payloads(plan, requests))
    if not summary.answered:
        raise StartError(f"{plan.url} answered none of {summary.requests} requests: {'; '.join(summary.reasons) or 'take more --seconds'}")
    p50, p95, p99 = (_finite(value) for value in (summary.p50_ms, summary.p95_ms, summary.p99_ms))
    return Load(callers=callers, requests_s=summary.requests_s, pairs_s=summary.pairs_s, tokens_s=summary.tokens_s,
                p50_ms=p50, p95_ms=p95, p99_ms=p99, errors=summary.errors)  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def show(console: Console, result: Measured) -> None:
    """Print the table and the curves."""
    table = Table(title=_title(result.about), title_justify="left")
    for name in ("callers", "requests/s", "pairs/s", "tokens/s", "p50 ms", "p95 ms", "p99 ms", "errors"):
        table.add_column(name, justify="right")
    for load in result.loads:
        rates = f"{load.requests_s:,.1f}", f"{load.pairs_s:,.0f}", short(load.tokens_s)
        table.add_row(str(load.callers), *rates, *(_ms(value) for value in (load.p50_ms, load.p95_ms, load.p99_ms)), str(load.errors))
    console.print(table)
    series = {name: [(load.pairs_s, getattr(load, f"{name}_ms") or math.nan) for load in result.loads] for name in ("p50", "p95", "p99")}
    width = max(20, min(72, console.width - 13))
    for line in chart(series, "pairs/s", "ms", width=width):
        console.print(line, markup=False, highlight=False)
    for line in (result.requests, f"{result.machine}, {result.date}, rerankd {result.about.version}"):
        console.print(line, markup=False, highlight=False, style="dim")


def _title(found: About) -> str:
    return f"{found.model_id} on {found.device}, {found.model_dtype}, {found.max_concurrent_batches} workers"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _machine() -> str:
    machine = placement.look(dict(os.environ))
    return f"{machine.cores} cores, {machine.gpus} GPUs"


def _need_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise StartError('--plot needs matplotlib: pip install "rerankd[bench]"')

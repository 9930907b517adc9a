"""`rerankd plan`: how many GPUs or cores a load needs, from a curve measured here, by a running service, or by `rerankd bench --save`."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from batching.calibrate import Point
from batching.errors import StartError
from service import capacity, measured, model_files
from service.capacity import Assumed, Demand, Estimate, Machine
from service.commands.options import MODEL_SETTINGS, Finite, setting_options, settings_of
from service.local_engine import as_served, local_engine
from service.settings_parse import declared
from service.standing import short

ABOVE_0 = Finite(0, min_open=True)
HTTP_TOKENS_S = 500_000
"""Tokens a second that one HTTP process is counted on for; its tokenizer alone does about twice as many."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where the curve comes from, and what one worker of it is."""

    told: str
    device: str
    curve: list[Point]
    budget_tokens: int
    cores: int = 1
    efficiency: float | None = None


@click.command("plan")
@click.option("--rate", type=ABOVE_0, required=True, help="Requests a second.")
@click.option("--documents", type=ABOVE_0, required=True, help="Documents of a request, on average.")
@click.option("--tokens", type=ABOVE_0, required=True, help="Tokens of a query with one document, on average.")
@click.option("--p99", "p99_ms", type=ABOVE_0, required=True, help="Milliseconds that 99 of 100 answers may take.")
@click.option("--spread", default=0.6, show_default=True, type=Finite(0, 5), help="How request sizes vary: deviation over mean.")
@click.option(
    "--efficiency",
    type=Finite(0, 1, min_open=True),
    help="Part of the curve's rate left through HTTP.",
)
@click.option("--url", help="Take the curve of a service that runs (its /info) instead of measuring one here.")
@click.option("--measured", "file", type=click.Path(dir_okay=False, path_type=Path), help="Take the figures of `rerankd bench --save`.")
@click.option("--key", envvar="RERANKD_KEY", help="A key, where the service asks for one. [RERANKD_KEY]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@setting_options(MODEL_SETTINGS)
def command(
    rate: float, documents: float, tokens: float, p99_ms: float, spread: float, efficiency: float | None, url: str | None,
    file: Path | None, key: str | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Say how many GPUs or cores a load needs. The model is loaded here and measured, unless --url or --measured says otherwise."""
    if url and file:
        raise click.UsageError("give --url or --measured, not both")
    if (url or file) and (given := [name for name, value in options.items() if value is not None]):
        named = ", ".join(declared()[name].option for name in given)
        raise click.UsageError(f"{named}: settings of a model that is measured here, not of one measured by --url or --measured")
    source = _source(url, file, key, options)
    if not source.curve:
        raise StartError(f"{source.told} has no measured curve; was TOKEN_BUDGET set?")
    assumed = Assumed(efficiency=efficiency or source.efficiency or Assumed().efficiency, spread=spread)
    demand = Demand(rate=rate, documents=documents, tokens=tokens, p99_s=p99_ms / 1e3)
    machine = Machine(source.curve, source.budget_tokens or source.curve[-1].tokens, assumed.efficiency)
    found = capacity.needed(demand, machine, assumed)
    if found is None:
        least = capacity.estimate(demand, machine, capacity.MANY, assumed)
        raise StartError(
            f"no number of workers keeps a p99 of {p99_ms:g} ms: on {source.device} a request alone takes {least.p99_s * 1e3:.0f} ms"
        )
    most = capacity.most_rate(demand, machine, found.workers, assumed)
    if as_json:
        click.echo(msgspec.json.encode(_facts(source, demand, machine, found, most)))
    else:
        _show(Console(), source, demand, machine, found, most, assumed)


def _source(url: str | None, file: Path | None, key: str | None, options: dict[str, Any]) -> Source:
    if url:
        return _of_about(measured.about(url, {"authorization": f"Bearer {key}"} if key else {}), url, None)
    if file:
        kept = measured.read(file)
        return _of_about(kept.about, f"{file} ({kept.date}, {kept.machine})", kept.efficiency())
    return asyncio.run(_measure(options))


def _of_about(about: measured.About, told: str, efficiency: float | None) -> Source:
    return Source(told=told, device=about.device, curve=about.points(), budget_tokens=about.max_batch_tokens,
                  cores=about.inference_threads or 1, efficiency=efficiency)  # fmt: skip


async def _measure(options: dict[str, Any]) -> Source:
    settings = settings_of(options)
    card = model_files.cards(settings)[0]
    served = as_served(settings, card)
    with Console(stderr=True).status(f"loading and measuring {card.name}"):
        async with local_engine(served, card) as engine:
            worker = engine.worker
    return Source(told=f"{card.name}, {worker.dtype}, measured here on one worker", device=worker.device, curve=worker.curve,
                  budget_tokens=worker.budget_tokens, cores=served.threads or 1)  # fmt: skip


def _units(source: Source, workers: int) -> tuple[int, str]:
    """How many of what: GPUs, or CPU cores."""
    return (workers * source.cores, "cores") if source.device.startswith("cpu") else (workers, "GPUs")


def _facts(source: Source, demand: Demand, machine: Machine, found: Estimate, most: float) -> dict[str, Any]:
    count, unit = _units(source, found.workers)
    return {"count": count, "unit": unit, **msgspec.to_builtins(found), "p99_s": found.p99_s, "demand_tokens_s": demand.tokens_s,
            "worker_tokens_s": machine.peak, "most_rate": most, "http_processes": _http_processes(demand)}  # fmt: skip


def _http_processes(demand: Demand) -> int:
    return max(1, math.ceil(demand.tokens_s / HTTP_TOKENS_S))


def _show(console: Console, source: Source, demand: Demand, machine: Machine, found: Estimate, most: float, assumed: Assumed) -> None:
    count, unit = _units(source, found.workers)
    workers = f" ({found.workers} workers of {source.cores} threads)" if unit == "cores" and source.cores > 1 else ""
    parts = f"waiting {_ms(found.waiting_s)}, a batch under way {_ms(found.under_way_s)}, its own {_ms(found.own_s)}"
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row(
        "asked",
        f"{demand.rate:g} requests/s of {demand.documents:g} documents of {demand.tokens:g} tokens: {short(demand.tokens_s)} tokens/s",
    )
    table.add_row("one worker", f"{source.device}: {short(machine.peak)} tokens/s in batches of {machine.largest:,.0f} ({source.told})")
    table.add_row("needed", f"{count:,} {unit}{workers}, {found.busy:.0%} busy; they hold up to {most:,.1f} requests/s", style="bold")
    table.add_row("p99", f"{_ms(found.p99_s)} of {_ms(demand.p99_s)}: {parts}, HTTP and tokenizing {_ms(found.overhead_s)}")
    table.add_row(
        "HTTP", f"{_http_processes(demand)} of WORKERS (HTTP processes), {short(HTTP_TOKENS_S)} tokens/s each, on cores of their own"
    )
    console.print(table)
    for line in _assumptions(assumed):
        console.print(f"assumes {line}", style="dim", highlight=False, markup=False)


def _assumptions(assumed: Assumed) -> list[str]:
    return [
        "callers that come independently of each other (Poisson), and one queue for all workers",
        f"{assumed.efficiency:.0%} of the curve's rate through HTTP with all workers busy; `rerankd bench --save` measures that",
        f"request sizes that vary by {assumed.spread:g} of their mean (log-normal), and truncation nowhere",
        f"no worker busier than {assumed.most_busy:.0%}; none in reserve: add one for restarts",
        "no cached and no repeated documents, an M/G/c queue, and parts of the p99 that add up: on the safe side",
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"

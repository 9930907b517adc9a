"""`rerankd top`: a live view of a running service in the terminal, from its /metrics alone."""

from __future__ import annotations

import http.client
import math
import time

import rich_click as click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batching.errors import StartError
from service import probe
from service.commands.options import Finite, settings_of
from service.settings import Settings
from service.standing import short
from service.top import Model, Page, View, parse, view


@click.command("top")
@click.argument("address", required=False)
@click.option("--interval", default=1.0, show_default=True, type=Finite(0.1, 3600), help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Show one interval and end.")
@click.option("--key", envvar="RERANKD_KEY", help="A key, where /metrics asks for one. [RERANKD_KEY]")
def command(address: str | None, interval: float, once: bool, key: str | None) -> None:
    """Watch the service at ADDRESS (http://HOST:PORT or unix:PATH; default: where the settings in the environment and `.env` listen)."""
    where = address or own_address(settings_of({}))
    console = Console()
    before = look(where, key)
    if once:
        time.sleep(interval)
        console.print(show(where, view(before, look(where, key))))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            after = look(where, key)
            live.update(show(where, view(before, after)), refresh=True)
            before = after


def own_address(settings: Settings) -> str:
    """Return where a service with these settings listens. Raises UsageError where only the service knows."""
    try:
        return probe.listening(settings.host, settings.port, settings.uds, tls=settings.tls_cert is not None)
    except ValueError as error:
        raise click.UsageError(f"{error}; give ADDRESS") from error


def look(where: str, key: str | None) -> Page:
    """Read /metrics once. Raises StartError."""
    try:
        status, body = probe.ask(where, "/metrics", {"authorization": f"Bearer {key}"} if key else None)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StartError(f"no answer from {where} ({error})") from error
    if status != 200:
        raise StartError(f"{where}/metrics answered {status}" + ("; give --key" if status == 401 else ""))
    try:
        page = parse(body.decode(), time.monotonic())
    except ValueError as error:
        raise StartError(f"{where}/metrics is no Prometheus page ({error})") from error
    if "rerankd_queue_limit_tokens" not in page.samples:
        raise StartError(f"{where} is no rerankd")
    return page


def show(where: str, now: View) -> Group:
    """Return the whole screen."""
    rates = "  ".join(f"{kind} {rate:.1f}/s" for kind, rate in now.by_status.items() if rate or kind == "2xx")
    head = Text.assemble((where, "bold"), f"   in flight {now.in_flight:.0f}   answers {rates}")
    return Group(head, *(part for model in now.models for part in (Text(""), *_model(model))))


def _model(model: Model) -> list[Text | Table]:
    truncated = f", {model.truncated:.0%} of documents cut" if model.truncated else ""
    head = Text.assemble(
        (model.name, "bold cyan"),
        f"   {short(model.requests_per_s)} requests/s, {short(model.pairs_per_s)} pairs/s, {short(model.tokens_per_s)} tokens/s{truncated}",
    )
    return [head, _queue(model), _latency(model), _workers(model)]


def _queue(model: Model) -> Table:
    table = Table.grid(padding=(0, 1))
    full = model.reserved_tokens / max(1.0, model.limit_tokens)
    style = "red" if full > 0.9 else "yellow" if full > 0.6 else "green"
    bar = ProgressBar(total=1.0, completed=full, width=20, complete_style=style, finished_style=style)
    oldest = f", oldest {_time(model.oldest_wait_s)}" if model.waiting_tokens else ""
    told = f"{full:.0%} of {short(model.limit_tokens)} tokens, {short(model.waiting_tokens)} waiting{oldest}"
    table.add_row("queue", bar, told)
    return table


def _latency(model: Model) -> Table:
    table = Table("stage", "p50", "p95", "p99", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for stage, found in model.stages.items():
        table.add_row(stage, *(_time(seconds) for seconds in found))
    return table


def _workers(model: Model) -> Table:
    table = Table(
        "worker", "device", "state", "pairs/s", "tokens/s", "busy", "fill", "padding", "memory", "restarts", "OOM",
        box=None, padding=(0, 1, 0, 0), header_style="dim",
    )  # fmt: skip
    for one in model.workers:
        state = Text(one.state, "green" if one.state == "ready" else "red")
        memory = f"{short(one.memory_bytes)}B" if one.memory_bytes else "-"
        rates = short(one.pairs_per_s), short(one.tokens_per_s), f"{one.busy:.0%}", f"{one.fill:.0%}", f"{one.padding:.0%}", memory
        table.add_row(one.slot, one.device, state, *rates, f"{one.restarts:.0f}", f"{one.out_of_memory:.0f}")
    return table


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"

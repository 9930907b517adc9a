"""`rerankd check`: loads every model as `serve` would, scores a known pair, and tells how it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import rich_click as click
from rich.console import Console, Group
from rich.table import Table

from batching.calibrate import Point
from batching.errors import StartError
from batching.families.card import ModelCard
from batching.families.known import judge, known_of
from service import model_files
from service.commands.options import MODEL_SETTINGS, setting_options, settings_of
from service.local_engine import as_served, local_engine
from service.settings import Settings


@click.command("check")
@setting_options(MODEL_SETTINGS)
def command(**options: Any) -> None:
    """Load the model, score its family's known pair, tell how it runs. Ends with an error when the better document does not come first."""
    settings = settings_of(options)
    console = Console()
    for card in model_files.cards(settings):
        console.print(asyncio.run(_check(settings, card, Console(stderr=True))))


async def _check(settings: Settings, card: ModelCard, progress: Console) -> Table | Group:
    with progress.status(f"loading {card.name}"):
        async with local_engine(as_served(settings, card), card) as engine:
            query, good, bad = known_of(card.family).texts
            result = await engine.rank(query, [bad, good])
    verdict = judge(card.family, (card.name, card.path), float(result.raw[1]), float(result.raw[0]))
    if not verdict.ordered:
        raise StartError(
            f"{card.name} ranks an unrelated document first (raw scores {result.raw.tolist()}); is it a reranker, and its recipe right?"
        )
    worker = engine.worker
    table = _table(
        {
            "model": card.name,
            "directory": card.path,
            "family": f"{card.family.name} ({card.architecture}, {card.activation})",
            "weights": f"{card.weights_bytes / 1e6:,.1f} MB, revision {card.revision[:12]}",
            "length": f"{min(settings.max_length, card.max_length)} tokens (the model takes {card.max_length})",
            "device": worker.device,
            "dtype": worker.dtype,
            "backend": worker.backend,
            "token budget": f"{worker.budget_tokens} tokens a batch",
            "loaded in": f"{engine.loaded_s:.1f} s",
            "known pair": f"{result.scores[1]:.4f} over {result.scores[0]:.4f} (raw {result.raw[1]:.3f}, {result.raw[0]:.3f}), in order",
            "scale": "; ".join(verdict.doubts) + " (is its recipe right?)" if verdict.doubts else "as it should be",
        }
    )
    return Group(table, "", curve_table(worker.curve, worker.budget_tokens)) if worker.curve else table


def curve_table(curve: list[Point], budget_tokens: int) -> Table:
    """Return what batches were measured to take, with bars; the size that is used is marked."""
    best = max(point.rate for point in curve)
    used = max((point.tokens for point in curve if point.tokens <= budget_tokens), default=0)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("tokens a batch", "ms", "tokens/s"):
        table.add_column(name, justify="right")
    table.add_column()
    for point in curve:
        bar = "█" * max(1, round(30 * point.rate / best))
        style = "bold" if point.tokens == used else None
        table.add_row(f"{point.tokens:,}", f"{point.seconds * 1e3:.2f}", f"{point.rate:,.0f}", bar, style=style)
    return table


def _table(rows: dict[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value, style=None)
    return table

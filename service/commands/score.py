"""`rerankd score QUERY DOC...`: a ranking in the terminal, without a server."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from batching.families.card import ModelCard
from service import model_files
from service.commands.options import MODEL_SETTINGS, setting_options, settings_of
from service.local_engine import local_engine
from service.schemas import RerankResult
from service.settings import Settings


@click.command("score")
@click.argument("query")
@click.argument("documents", nargs=-1)
@click.option("--instruction", help="What the model is told to look for, where its family takes that.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
@setting_options(MODEL_SETTINGS)
def command(query: str, documents: tuple[str, ...], instruction: str | None, as_json: bool, **options: Any) -> None:
    """Rank DOCUMENTS (or the lines of standard input) for QUERY."""
    settings = settings_of(options)
    texts = [line for line in documents or (line.strip() for line in sys.stdin) if line]
    if not texts:
        raise click.UsageError("no documents: give them after the query, or one per line on standard input")
    card = model_files.cards(settings)[0]
    result = asyncio.run(_rank(settings, card, query, texts, instruction))
    if as_json:
        for index in result.order:
            line = {"index": index, "score": float(result.scores[index]), "raw": float(result.raw[index]), "document": texts[index]}
            click.echo(msgspec.json.encode(line))
    else:
        Console().print(_table(result, texts))


async def _rank(settings: Settings, card: ModelCard, query: str, texts: list[str], instruction: str | None) -> RerankResult:
    with Console(stderr=True).status(f"loading {card.name}"):
        async with local_engine(settings, card) as engine:
            return await engine.rank(query, texts, instruction=instruction)


def _table(result: RerankResult, texts: list[str]) -> Table:
    table = Table("score", "raw", "document", box=None, padding=(0, 2, 0, 0))
    for index in result.order:
        table.add_row(f"{result.scores[index]:.4f}", f"{result.raw[index]:.3f}", texts[index])
    return table

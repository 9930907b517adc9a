"""`rerankd list`: the models that were downloaded to this machine."""

from __future__ import annotations

from typing import Any

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from service import store
from service.commands.options import setting_options, settings_of


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of a table.")
@setting_options({"model_cache_dir"})
def command(as_json: bool, **options: Any) -> None:
    """Show the models that were downloaded to this machine."""
    found = store.kept(settings_of(options).model_cache_dir)
    if as_json:
        for one in found:
            click.echo(msgspec.json.encode(one, enc_hook=str))
        return
    if not found:
        click.echo("no models; get one with: rerankd download MODEL")
        return
    table = Table("model", "size", "revision", "", "directory", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for one in found:
        table.add_row(one.model, f"{one.size / 1e6:,.1f} MB", one.revision[:12], "" if one.whole else "unfinished", str(one.directory))
    Console(soft_wrap=True).print(table)

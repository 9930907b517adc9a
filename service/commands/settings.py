"""`rerankd settings`: every setting, where its value comes from not hidden, or the README's table."""

from __future__ import annotations

from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from service.commands.options import setting_options, settings_of
from service.settings_parse import sections
from service.settings_table import markdown, shown


@click.command("settings")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the README's table instead.")
@setting_options()
def command(as_markdown: bool, **options: Any) -> None:
    """Show every setting and its value."""
    if as_markdown:
        click.echo(markdown(), nl=False)
        return
    settings = settings_of(options)
    console = Console()
    for title, found in sections().items():
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
        for setting in found:
            value = getattr(settings, setting.name)
            text = "" if value == setting.default else "set"
            hidden = f"{len(value)} keys" if setting.about.kind == "key" and value else shown(setting, value)
            table.add_row(setting.variable, hidden, text)
        console.print(table)

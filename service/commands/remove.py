"""`rerankd remove`: deletes a downloaded model."""

from __future__ import annotations

from typing import Any

import rich_click as click

from service import store
from service.commands.options import setting_options, settings_of


@click.command("remove")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Don't ask.")
@setting_options({"model_cache_dir"})
def command(model: str, yes: bool, **options: Any) -> None:
    """Delete a downloaded MODEL. A service that has it loaded goes on with it."""
    cache = settings_of(options).model_cache_dir
    one = store.find(model, cache)
    if not yes:
        click.confirm(f"delete {one.directory} ({one.size / 1e6:,.1f} MB)?", abort=True, err=True)
    store.remove(one, cache)
    click.echo(f"{model}: removed, {one.size / 1e6:,.1f} MB free again")

"""`rerankd verify`: whether a downloaded model's files are still what they were on the hub. Needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from batching.errors import StartError
from service import manifest, model_files, store
from service.commands.options import setting_options, settings_of


@click.command("verify")
@click.argument("models", nargs=-1, metavar="[MODEL|DIRECTORY]...")
@setting_options({"model_cache_dir"})
def command(models: tuple[str, ...], **options: Any) -> None:
    """Compare the files of MODELs (default: all that were downloaded) with the hashes that they came with."""
    cache = settings_of(options).model_cache_dir
    chosen = [_chosen(one, cache) for one in models] or [(one.model, one.directory) for one in store.kept(cache)]
    if not chosen:
        raise StartError("no models were downloaded to this machine")
    bad = [name for name, directory in chosen if not _verify(name, directory)]
    if bad:
        raise StartError(f"not as they were: {', '.join(bad)}; `rerankd download` fetches again what is damaged")


def _chosen(name: str, cache: str | None) -> tuple[str, Path]:
    return (name, Path(name)) if Path(name).is_dir() else (name, store.find(name, cache).directory)


def _verify(name: str, directory: Path) -> bool:
    files = manifest.known_files(directory)
    if not files:
        model_files.card(directory, name, None)  # at least a model, and one that is known
        click.echo(f"{name}: no hashes known, since it was not downloaded by rerankd; it is a model that can be served")
        return True
    damaged = manifest.damaged(directory, files)
    total = sum(file.size for file in files) / 1e6
    told = f"damaged or missing: {', '.join(damaged)}" if damaged else f"{len(files)} files, {total:,.1f} MB, as they came"
    click.echo(f"{name}: {told}")
    return not damaged

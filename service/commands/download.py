"""`rerankd download MODEL DIR`: fetches a model from a hub with progress, resumes what was broken off, and verifies every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from service import download, model_files, store
from service.commands.options import setting_options, settings_of
from service.commands.progress import progress


@click.command("download")
@click.argument("model")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option("--revision", help="A branch, tag or commit of the model's repository; the same as MODEL@REVISION.")
@click.option("--convert", is_flag=True, help="Make safetensors out of pickled weights (.bin), where there are no others.")
@setting_options({"model_cache_dir"})
def command(model: str, directory: Path | None, revision: str | None, convert: bool, **options: Any) -> None:
    """Fetch MODEL (or MODEL@REVISION) from its hub into DIRECTORY, or where `serve` finds it by its name, and verify it.

    A download that broke off goes on where it stopped. Pickled weights are read by a process of its own that runs nothing they hold.
    """
    if revision is not None:
        model = f"{model}@{revision}"
    kept = directory is None
    directory = directory or store.place(model, settings_of(options).model_cache_dir)
    if model == model_files.STARTER:
        found = model_files.copy_starter(directory)
    else:
        with progress() as tell:
            found = download.fetch(model, directory, tell=tell, convert=convert)
    card = model_files.card(found, model, None)
    click.echo(f"{directory}: {card.family.name}, {card.weights_bytes / 1e6:.1f} MB. Serve it with")
    click.echo(f"  rerankd serve --model {model}" + ("" if kept else f" --model-path {directory}"))

"""`rerankd download MODEL DIR`: fetches a model from a hub with progress, resumes what was broken off, and verifies every file."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from service import download, model_files
from service.commands.progress import progress


@click.command("download")
@click.argument("model")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--revision", help="A branch, tag or commit of the model's repository.")
def command(model: str, directory: Path, revision: str | None) -> None:
    """Fetch MODEL from its hub into DIRECTORY and verify it. A download that broke off goes on where it stopped."""
    if model == model_files.STARTER:
        found = model_files.copy_starter(directory)
    else:
        with progress() as tell:
            found = download.fetch(model, directory, revision=revision, tell=tell)
    card = model_files.card(found, model, None)
    click.echo(f"{directory}: {card.family.name}, {card.weights_bytes / 1e6:.1f} MB. Serve it with")
    click.echo(f"  rerankd serve --model {model} --model-path {directory}")

"""A download's progress: a bar per file for a person, a log line now and then for a log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from service.download import Tell
from service.transfer import RemoteFile

log = logging.getLogger("rerankd.download")
STEPS = 10
LEAST_BYTES = 50_000_000
"""Smaller files come too quickly to be told of in a log."""


@contextmanager
def progress() -> Iterator[Tell]:
    """Show what is told while the block runs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _logged()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        yield _drawn(bars)


def _drawn(bars: Progress) -> Tell:
    tasks: dict[str, TaskID] = {}

    def tell(file: RemoteFile, there: int) -> None:
        if file.name not in tasks:
            tasks[file.name] = bars.add_task(file.name, total=file.size)
        bars.update(tasks[file.name], completed=there)

    return tell


def _logged() -> Tell:
    said: dict[str, int] = {}

    def tell(file: RemoteFile, there: int) -> None:
        step = STEPS * there // max(1, file.size)
        if file.size >= LEAST_BYTES and step > said.get(file.name, -1):
            said[file.name] = step
            log.info("%s: %d %% of %.0f MB", file.name, 100 * there // file.size, file.size / 1e6)

    return tell

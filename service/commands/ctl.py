"""`rerankd ctl start|stop|restart|reload|status|logs`: a service in the background on hosts without systemd."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from batching.errors import StartError
from service import probe
from service.commands.options import Finite
from service.daemon import Daemon, Started, state_directory

Function = TypeVar("Function", bound=Callable[..., Any])
SERVE = {"ignore_unknown_options": True, "allow_interspersed_args": True}


@click.group("ctl")
def command() -> None:
    """Run a service in the background, on hosts without systemd."""


def _instance(function: Function) -> Function:
    """Decorate a command with what tells instances apart."""
    where = click.option(
        "--directory", type=click.Path(file_okay=False, path_type=Path), help="Where state and logs lie; default ~/.local/state/rerankd."
    )
    return click.option("--name", default="default", show_default=True, help="The instance.")(where(function))


def _daemon(name: str, directory: Path | None) -> Daemon:
    if not name.replace("-", "").replace("_", "").isalnum():
        raise click.UsageError(f"--name {name!r}: letters, digits, - and _ only")
    return Daemon(directory or state_directory(os.environ), name)


@command.command("start", context_settings=SERVE)
@_instance
@click.option("--timeout", default=600.0, show_default=True, type=Finite(0), help="Seconds that the service gets to become ready.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def start(name: str, directory: Path | None, timeout: float, options: tuple[str, ...]) -> None:
    """Start a service with the OPTIONS of `rerankd serve`, and return once it is ready."""
    _tell(name, _daemon(name, directory).start(options, timeout, os.environ))


@command.command("stop")
@_instance
@click.option("--timeout", default=60.0, show_default=True, type=Finite(0), help="Seconds for requests in flight; then it is killed.")
def stop(name: str, directory: Path | None, timeout: float) -> None:
    """Let the service finish what is in flight, and stop it."""
    daemon = _daemon(name, directory)
    if not daemon.running():
        raise StartError(f"instance {name!r} is not running")
    click.echo(f"{name}: stopped after {daemon.stop(timeout):.1f} s")


@command.command("restart", context_settings=SERVE)
@_instance
@click.option("--timeout", default=600.0, show_default=True, type=Finite(0), help="Seconds for stopping, and again for becoming ready.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def restart(name: str, directory: Path | None, timeout: float, options: tuple[str, ...]) -> None:
    """Stop the service and start it again, with its own OPTIONS where none are given."""
    daemon = _daemon(name, directory)
    before = daemon.last()
    daemon.stop(timeout)
    _tell(name, daemon.start(options or (before.arguments if before else ()), timeout, os.environ))


@command.command("reload")
@_instance
def reload(name: str, directory: Path | None) -> None:
    """Make the service read its keys again."""
    _daemon(name, directory).reload()


@command.command("status")
@_instance
def status(name: str, directory: Path | None) -> None:
    """Say whether the service runs and is ready; the exit code is 1 where it is not."""
    daemon = _daemon(name, directory)
    found = daemon.running()
    if found is None:
        raise StartError(f"instance {name!r} is not running")
    reason = probe.trouble(found.address)
    click.echo(f"{name}: {'not ready: ' + reason if reason else 'ready'}, process {found.pid}, {_ago(found)}, {found.address}")
    click.echo(f"log: {daemon.log_file}")
    sys.exit(1 if reason else 0)


@command.command("logs")
@_instance
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(0), help="Last lines to show.")
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is written.")
def logs(name: str, directory: Path | None, lines: int, follow: bool) -> None:
    """Show the service's log."""
    daemon = _daemon(name, directory)
    if not daemon.log_file.exists():
        raise StartError(f"instance {name!r} has no log ({daemon.log_file})")
    for line in daemon.tail(lines):
        click.echo(line)
    if follow:
        _follow(daemon.log_file)


def _follow(path: Path) -> None:
    with path.open(encoding="utf-8", errors="replace") as log:
        log.seek(0, os.SEEK_END)
        while True:
            if line := log.readline():
                click.echo(line, nl=False)
            else:
                time.sleep(0.2)


def _tell(name: str, found: Started) -> None:
    click.echo(f"{name}: ready at {found.address}, process {found.pid}")


def _ago(found: Started) -> str:
    seconds = int(time.time() - found.started_at)
    hours, minutes = divmod(seconds // 60, 60)
    return f"up {hours} h {minutes} min" if hours else f"up {minutes} min" if minutes else f"up {seconds} s"

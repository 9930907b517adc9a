"""`rerankd`: the command line. Each command is a module of `commands/` and is imported when it is called, so that `--help` is quick.

Nothing here imports torch: what needs a model runs it in a worker process.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import rich_click as click

from batching.errors import RerankdError, SettingError

COMMANDS = {
    "serve": "Serve models over HTTP.",
    "download": "Fetch a model into a directory and verify it.",
    "list": "Show the models that were downloaded.",
    "verify": "Compare a downloaded model with its hashes.",
    "remove": "Delete a downloaded model.",
    "check": "Load the model, score a known pair, tell how it runs.",
    "score": "Rank documents in the terminal.",
    "settings": "Show every setting and its value.",
    "ctl": "Run a service in the background, on hosts without systemd.",
    "top": "Watch a running service, live.",
    "bench": "Measure a service: rates, latencies, curves.",
    "plan": "How many GPUs or cores a load needs.",
}
EXIT_USAGE, EXIT_FAILURE, EXIT_INTERRUPTED = 2, 1, 130


class LazyGroup(click.RichGroup):
    """Knows its commands by name and one line, and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order that a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; only its name and line while the group's own help is shown."""
        if cmd_name not in COMMANDS:
            return None
        if _helping():
            return click.RichCommand(name=cmd_name, help=COMMANDS[cmd_name])
        command: click.Command = importlib.import_module(f"service.commands.{cmd_name}").command
        return command


def _helping() -> bool:
    return len(sys.argv) < 2 or sys.argv[1] in {"-h", "--help"}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rerankd", prog_name="rerankd", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
def rerankd(debug: bool) -> None:
    """A rerank server: a query and documents go in over HTTP, the documents come out ranked by a cross-encoder."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one line and an exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = rerankd.main(given, prog_name="rerankd", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except RerankdError as error:
        if "--debug" in given:
            raise
        click.echo(f"rerankd: {error}", err=True)
        code = EXIT_USAGE if isinstance(error, SettingError) else EXIT_FAILURE
    except Exception as error:  # a process's boundary
        if "--debug" in given:
            raise
        click.echo(f"rerankd: unforeseen {type(error).__name__}: {error} (rerankd --debug … shows where)", err=True)
        code = EXIT_FAILURE
    sys.exit(code if isinstance(code, int) else 0)

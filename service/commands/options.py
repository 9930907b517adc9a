"""Settings as command line options, made from their declaration, and the settings that come out of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from service import settings_load
from service.settings import Settings
from service.settings_parse import Declared, allowed, sections
from service.settings_table import shown_default

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL_SETTINGS = frozenset(
    {
        "model_name", "model_path", "model_cache_dir", "use_offline_mode", "recipe", "device", "dtype", "use_fp16", "threads",
        "token_budget", "max_length", "runtime_dir", "log_level", "log_json",
    }
)  # fmt: skip
"""What matters to a command that runs a model without serving it."""


class Finite(click.FloatRange):
    """A range of numbers without nan, which is within every range, and without infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number; nan and infinity are usage errors."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return found


def setting_options(names: Collection[str] | None = None) -> Callable[[Command], Command]:
    """Decorate a command with an option per setting (all, or those named); their texts arrive as keyword arguments."""

    def decorate(command: Command) -> Command:
        for title, settings in reversed(sections().items()):
            chosen = [setting for setting in settings if names is None or setting.name in names]
            for setting in reversed(chosen):
                command = _option(setting)(command)
            if chosen:
                command = click.option_panel(title, options=[setting.option for setting in chosen])(command)
        return command

    return decorate


def _option(setting: Declared) -> Callable[[Command], Command]:
    help_ = f"{setting.about.help} Takes {allowed(setting)}; default {shown_default(setting)}. [{setting.variable}]"
    if setting.shape == "bool":
        switch = f"{setting.option}/--no-{setting.name.replace('_', '-')}"
        return click.option(switch, setting.name, default=None, help=f"{setting.about.help} [{setting.variable}]")
    names = [setting.option, *(["--model"] if setting.name == "model_name" else [])]
    return click.option(*names, setting.name, metavar=setting.shape.upper(), help=help_)


def settings_of(options: dict[str, Any]) -> Settings:
    """Return the settings out of options, environment and `.env`, and warn about what is unknown or idle. Raises SettingError."""
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    dotenv = settings_load.read_dotenv(Path(".env"))
    _warn(settings_load.unknown_variables(os.environ, dotenv))
    settings = settings_load.load_settings(os.environ, texts, dotenv)
    _warn(settings_load.without_effect(settings))
    return settings


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        click.echo(f"rerankd: warning: {warning}", err=True)

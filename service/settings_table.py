"""The README's table of settings, made from their declaration."""

from __future__ import annotations

from typing import Any

from service.settings_parse import Declared, allowed, declared


def markdown() -> str:
    """Return the table of all settings in Markdown, one line each, ending in a newline."""
    lines = ["| Variable | Default | Takes | Meaning |", "|---|---|---|---|"]
    lines += [_row(setting) for setting in declared().values()]
    return "\n".join(lines) + "\n"


def shown_default(setting: Declared) -> str:
    """Return the default as a user would write it."""
    return shown(setting, setting.default)


def _row(setting: Declared) -> str:
    aliases = f" (or `{'`, `'.join(setting.aliases)}`)" if setting.aliases else ""
    takes = allowed(setting).replace("|", "\\|")
    return f"| `{setting.variable}`{aliases} | {shown_default(setting)} | {takes} | {setting.about.help} |"


def shown(setting: Declared, value: Any) -> str:
    """Return a value as a user would write it."""
    if value is None:
        return setting.none
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value) or setting.none
    if setting.about.kind == "bytes" and value and value % (1 << 20) == 0:
        return f"{value >> 20}M"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Log lines of the service's processes, as its settings ask. How a line looks is `batching.logs`' for all processes."""

from __future__ import annotations

import logging
from typing import Final

from batching import logs
from batching.logs import JsonLines, PlainLines, fields
from service.settings import Settings

__all__ = ["ACCESS", "JsonLines", "PlainLines", "fields", "set_up"]

ACCESS: Final = "rerankd.access"
"""The logger of one line per request."""


def set_up(settings: Settings, process: str) -> logging.Logger:
    """Make the `rerankd` logger write to stderr as the settings ask; `process` names this process in every line."""
    return logs.set_up(process, level=settings.log_level, as_json=settings.log_json)

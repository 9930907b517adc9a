"""Log lines of every process: one per event, `key=value` for people or JSON by setting, the request's id where there is one.

Fields are given as `extra={...}`; no query and no document text ever reaches a line unless it is asked for. Knows no settings.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

_ROOT = "rerankd"
_BARE = re.compile(r"[!#-<>-~]+")
"""Values that need no quotes: printable ASCII without blanks, quotes and equals signs."""
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def set_up(process: str, *, level: str, as_json: bool) -> logging.Logger:
    """Make the `rerankd` logger write to stderr from `level` on, and whoever has no handler of their own from warnings on; `process` names
    this process in every line, also in the last one of a process that an error ends.
    """
    logger = logging.getLogger(_ROOT)
    logger.setLevel(level.upper())
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if as_json else PlainLines(process))
    logger.handlers[:] = [handler]
    logging.lastResort = handler
    sys.excepthook = lambda kind, error, trace: logger.critical("ended by an error", exc_info=(kind, error, trace))
    return logger


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given as `extra`."""
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}


class PlainLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO http-0 message key=value`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        values = "".join(f" {name}={_plain(value)}" for name, value in fields(record).items())
        trace = "\n" + self.formatException(record.exc_info) if record.exc_info else ""
        return f"{_time(record)} {record.levelname} {self._process} {_one_line(record.getMessage())}{values}{trace}"


class JsonLines(logging.Formatter):
    """One JSON object per line, whatever the event."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _BARE.fullmatch(text) else msgspec.json.encode(text).decode()


def _one_line(text: str) -> str:
    return text if text.isprintable() else msgspec.json.encode(text).decode()

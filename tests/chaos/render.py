"""A section for BENCHMARKS.md from what `python -m tests.chaos --into FOLDER` kept there: `python -m tests.chaos.render FOLDER`.

With the file's name behind the folder's, its section is replaced, or added at the end.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
HEADING = "## Chaos and soak"
INTRODUCTION = """Callers of every kind (good, bad, huge, in a hurry, reading slowly, hanging up) against a whole service, while what can go wrong is made
to go wrong; every score is compared with the known one. Scorers are fakes with a fixed time per token, but in the soak of the model. `just soak`
runs all of it, `python -m tests.chaos --stage NAME --minutes N --into FOLDER` one part; how growth is told from noise stands in
`tests/chaos/watch.py`."""
ORDER = ("kills", "overload", "fairness", "fuzz", "faults", "proxy", "soak", "soak-model")


class Kept(msgspec.Struct):
    """What STAGE.json holds, but for the raw figures; each line is what, found, limit, verdict."""

    stage: str
    title: str
    command: str
    date: str
    machine: str
    commit: str
    note: str
    lines: list[tuple[str, str, str, str]]


def about(command: str, note: str) -> dict[str, str]:
    """When, where and what is run; the load average tells who else was there."""
    cpus = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else None
    model = found[1] if found else platform.processor()
    shown = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": command,
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start",
        "commit": shown.stdout.strip(),
        "note": note,
    }


def section(kept: list[Kept]) -> str:
    """The tables in Markdown, in a fixed order."""
    parts = [HEADING, "", INTRODUCTION, ""]
    for one in sorted(kept, key=lambda one: ORDER.index(one.stage)):
        parts += [f"### {one.title[0].upper()}{one.title[1:]}", ""]
        where = f"`{one.command}`, {one.date}, {one.machine}" + (f", commit {one.commit}" if one.commit else "")
        parts += [
            where + (f". {one.note[0].upper()}{one.note[1:]}." if one.note else "."),
            "",
            "| what | found | limit | |",
            "|---|---|---|---|",
        ]
        parts += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in one.lines]
        parts.append("")
    return "\n".join(parts) + "\n"


def replaced(text: str, new: str) -> str:
    """A document with its section of this heading replaced, or with the section at its end."""
    found = re.search(rf"^{HEADING}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return text[: found.start()] + new + text[found.end() :] if found else f"{text.rstrip()}\n\n{new}"


def main(folder: str, document: str = "") -> None:
    """Print the section, or put it into a document."""
    kept = [msgspec.json.decode(path.read_bytes(), type=Kept) for path in sorted(Path(folder).glob("*.json"))]
    if not document:
        sys.stdout.write(section(kept))
        return
    path = Path(document)
    path.write_text(replaced(path.read_text("utf-8"), section(kept)), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

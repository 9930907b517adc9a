"""What the files of ops/ say to operators is true of the service: settings exist, links lead somewhere, and no machine or registry is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.settings_parse import declared
from tests.ops.tools import OPS, ROOT

TEXTS = sorted(
    path
    for path in [ROOT / "Containerfile", ROOT / ".containerignore", *OPS.rglob("*")]
    if path.is_file() and "bench" not in path.parts and path.suffix not in {".png", ".pyc"}
)
SETTINGS = {setting.variable for setting in declared().values()}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_are_settings(path: Path) -> None:
    """Every RERANKER_ name is declared, so that a renamed setting does not live on in a unit file."""
    named = set(re.findall(r"RERANKER_[A-Z0-9_]*[A-Z0-9]", path.read_text()))
    assert named <= SETTINGS


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_registry_and_no_machine_is_named(path: Path) -> None:
    """Images, packages and paths are the operator's."""
    assert not re.findall(r"\b(docker|quay|ghcr|pypi)\.\w|/root/|/home/", path.read_text())


@pytest.mark.parametrize("name", ["RUNBOOK.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Relative links are files."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (OPS / name).read_text())
    assert [link for link in links if not (OPS / link).exists()] == []


def test_what_benchmarks_lists_is_there() -> None:
    """Every line of the table at the top names a command and leads to a section."""
    text = (ROOT / "BENCHMARKS.md").read_text()
    sections = [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    listed = re.findall(r"^\| \[[^]]+\]\(#([^)]+)\)[^|]*\| `[^`]+`", text, re.MULTILINE)
    assert len(listed) > 4
    assert set(listed) <= set(sections)

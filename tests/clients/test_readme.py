"""The README's snippets, run as they stand against the live server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.clients

README = (Path(__file__).parents[2] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README[README.index("<!-- snippets -->") :].partition("<!-- end -->")[0], re.S)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split()[1])
def test_a_snippet_runs(url: str, snippet: str) -> None:
    """It runs, and what it ranks comes back with the otters first."""
    names: dict[str, Any] = {}
    exec(compile(snippet.replace("http://127.0.0.1:8000", url), "README.md", "exec"), names)
    if "best" in names:
        assert names["best"][0].payload["text"].startswith("Sea otters")
    if "ranked" in names:
        assert names["ranked"][0]["index"] == 1


def test_there_are_snippets() -> None:
    """One for each library that the README names."""
    assert len(SNIPPETS) >= 4

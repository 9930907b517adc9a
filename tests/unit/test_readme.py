"""What README.md says is what the program says."""

from __future__ import annotations

import re
import tomllib

from ops.readme import README, generated, replace
from service import failures

ROOT = README.parent


def command(name: str) -> str:
    """The shell line of a marked block."""
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```", README.read_text(), re.S)
    assert found, name
    return found[1]


def test_generated_parts_are_true() -> None:
    """The settings table is the declaration's; `python -m ops.readme` writes it."""
    assert generated(README.read_text()) == README.read_text()


def test_replace_changes_only_its_place() -> None:
    """Only the text between the markers is replaced."""
    text = "a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\nkept\n<!-- end -->\n"
    assert replace(text, "x", "new\n") == text.replace("old", "new")


def test_readme_is_short_and_names_each_status() -> None:
    """At most 250 lines, and every status the service can answer with an error stands in its table."""
    lines = README.read_text().splitlines()
    assert len(lines) <= 250
    rows = {int(line.split("|")[1]) for line in lines if re.match(r"\| \d{3} \|", line)}
    assert {400, 401, 404, 413, 429, 500, 503, 504} <= rows
    assert failures


def test_the_commands_install_extras_that_exist() -> None:
    """Each of the two commands is one line and asks only for extras that pyproject.toml declares."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("serve", "test"):
        line = command(name)
        assert "\n" not in line
        asked = re.search(r'"\.\[([a-z,]+)\]"', line)
        assert asked
        assert set(asked[1].split(",")) <= set(extras)

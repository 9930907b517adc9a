"""Writes the generated parts of README.md: `python -m ops.readme`; with --check, fails where they are out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from ops import readme_models
from service.settings_table import markdown

README = Path(__file__).parent.parent / "README.md"


def generated(text: str) -> str:
    """The README with its generated parts made anew."""
    models = readme_models.table(readme_models.BENCHMARKS.read_text())
    return replace(replace(text, "settings", markdown()), "models", models)


def replace(text: str, name: str, body: str) -> str:
    """Put `body` between `<!-- name -->` and the next `<!-- end -->`. Raises ValueError when there is no such place."""
    start = text.index(f"<!-- {name} -->\n") + len(f"<!-- {name} -->\n")
    end = text.index("<!-- end -->", start)
    return text[:start] + body + text[end:]


def main() -> int:
    """Write, or with --check compare."""
    text = README.read_text()
    fresh = generated(text)
    if "--check" in sys.argv:
        if fresh != text:
            print("README.md is out of date: run `python -m ops.readme`")
        return int(fresh != text)
    README.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())

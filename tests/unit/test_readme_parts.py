"""The README's table of models and its picture: made of what was measured, and nothing left out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ops.picture import bars
from ops.readme_models import BENCHMARKS, LINES, Parity, parity, table

ROWS = """
## Peers

| mosec | float32 | server | 35.1 | 3,933 | 4,476 | 6,200 | 58.2 |
| OpenVINO | float32 | in process | 71.5 | 27 | 6.2 | 1 |

## Parity

| family | dtype | kernel | spread of raw scores | max abs diff to reference | same, of spread | drift with company | in order |
|---|---|---|---|---|---|---|---|
| bert | float32 | sdpa-runs | 1.42 | 9.5e-07 | 6.7e-07 | 2.4e-07 | all of 344 |
| bert | bfloat16 | sdpa-runs | 1.42 | 2.6e-02 | 1.8e-02 | 3.0e-07 | all of 344 |
| bert | float8, emulated | sdpa-runs | 1.42 | 2.6e-01 | 1.8e-01 | 3.0e-07 | all of 344 |

## Chaos and soak

| kills | float32 | - | 1.42 | 2.6e-01 | 1.8e-01 | 3.0e-07 | all of 344 |
"""


def test_parity_is_read_as_it_stands() -> None:
    """Case and dtype lead to the difference and its share; what other sections hold is none."""
    assert parity(ROWS)["bert", "float32"] == Parity(9.5e-07, 6.7e-07)
    assert set(parity(ROWS)) == {("bert", "float32"), ("bert", "bfloat16"), ("bert", "float8")}


def test_a_line_without_a_case_is_no_line() -> None:
    """A family whose parity was never measured can't be listed."""
    with pytest.raises(ValueError, match="no parity case"):
        table(ROWS)


def test_every_measured_family_is_listed_once() -> None:
    """Each case of BENCHMARKS.md stands for one line of the README's table."""
    for name in {case for case, _ in parity(BENCHMARKS.read_text())}:
        assert sum(bool(re.fullmatch(line.cases, name)) for line in LINES) == 1, name


def test_the_picture_shows_who_has_a_rate() -> None:
    """The fastest first; contenders that failed are left out; figures without rates are refused."""
    facts = {"title": "minilm", "machine": "2 cores", "date": "today"}
    rows = [
        {"contender": "FastAPI", "dtype": "float32", "pairs_s": 21.0},
        {"contender": "rerankd", "dtype": "int8", "pairs_s": 300.0},
        {"contender": "mosec", "dtype": "float32", "note": "failed"},
    ]
    title, rates = bars(json.dumps({**facts, "rows": rows}) + "\n")
    assert rates == [("rerankd int8", 300.0), ("FastAPI float32", 21.0)]
    assert "2 cores" in title
    with pytest.raises(ValueError, match="no rates"):
        bars(json.dumps({**facts, "rows": []}))


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """A PNG comes out."""
    pytest.importorskip("matplotlib")
    from ops.picture import draw

    draw("title", [("rerankd float32", 2.0), ("other", 1.0)], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000

"""The chaos experiments: short ones that belong to every run of the tests, and each in full under the marker `soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import fairness, faults, fuzz, kills, overload, proxy, render, soak, soak_model
from tests.chaos.report import Report
from tests.chaos.watch import BLOCKS, LEAST, trend


def kept(report: Report) -> None:
    """Show the table; every limit in it must have been kept."""
    report.show()
    assert not report.broken


def test_kills_in_short() -> None:
    """Workers and HTTP processes die under twice the load: no wrong answer, none missing, nothing left."""
    kept(kills.run(6.0, every_s=2.0))


def test_fuzz_in_short() -> None:
    """Random bytes over the arenas fell no process and stop no queue."""
    kept(fuzz.run(4.0, parts=fuzz.EACH_AND_ALL[-1:]))


def test_faults_in_short() -> None:
    """A full disk, a clock that jumps, a tokenizer that raises, a worker that stands still and idle callers cost no more than they must."""
    kept(faults.run(10.0))


def test_a_proxy_with_one_retry_hides_a_death() -> None:
    """HAProxy before two services on hosts of their own: while one is killed and comes back, every call is answered rightly."""
    if why := proxy.missing():
        pytest.skip(why)
    kept(proxy.run(9.0))


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("experiment", "minutes"), [(kills, 10.0), (overload, 3.0), (fairness, 6.0), (fuzz, 2.0), (faults, 3.0), (proxy, 2.0)], ids=lambda value: getattr(value, "__name__", None)
)  # fmt: skip
def test_in_full(experiment, minutes: float) -> None:
    """One experiment for as long as its figures need."""
    kept(experiment.run(60.0 * minutes))


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("experiment", [soak, soak_model], ids=lambda value: value.__name__)
def test_soak(experiment) -> None:
    """Half an hour at 80 % of capacity: nothing grows."""
    kept(experiment.run(1800.0))


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        ([100.0 + place / 100 for place in range(1000)], True),
        ([100.0 + place / 2000 for place in range(1000)], True),
        ([100.0 + place / 10000 for place in range(1000)], False),
        ([100.0 + (place % 7) for place in range(1000)], False),
        ([100.0 if place < 500 else 103.0 for place in range(1000)], True),
        ([110.0 - place / 100 for place in range(1000)], False),
        ([1.0, 50.0] * 4 * BLOCKS, False),
    ],
)
def test_growth_is_told_from_noise(samples: list[float], found: bool) -> None:
    """A leak of half a percent is seen, and noise, shrinking or a hair's breadth are not."""
    moved = trend(samples)
    assert moved
    assert moved.is_growth(LEAST["memory"]) is found


def test_a_slope_is_told_as_it_is() -> None:
    """Per sample, whatever the noise; and nothing is told of a few samples."""
    noisy = [50.0 + 0.01 * place + (place * 7919 % 13) / 10 for place in range(1200)]
    moved = trend(noisy)
    assert moved
    assert moved.slope == pytest.approx(0.01, rel=0.02)
    assert trend(noisy[: 4 * BLOCKS - 1]) is None


def test_what_is_kept_becomes_a_section(tmp_path: Path) -> None:
    """Each line of a table stands in the document with its limit and verdict; a second time it is replaced, and what is around it stays."""
    document, report = tmp_path / "FIGURES.md", Report("proxy: two hosts")
    document.write_text("# Figures\n\n## Chaos and soak\n\noutdated\n\n## Parity\n\nkept\n")
    report.must("failed calls", 0, "0", ok=True)
    report.timed("p99, s", 2.5, "<= 2", ok=False)
    report.stood_still(0.1)
    report.save(tmp_path / "runs", "proxy", render.about("python -m tests.chaos --stage proxy", "the machine was busy"))
    for _ in range(2):
        render.main(str(tmp_path / "runs"), str(document))
        text = document.read_text()
        assert text.count("| failed calls | 0 | 0 | ok |\n| p99, s | 2.5 | <= 2 | BROKEN |\n") == 1
        assert "outdated" not in text
        assert text.startswith("# Figures\n\n## Chaos and soak\n\n")
        assert text.endswith("\n\n## Parity\n\nkept\n")
    assert report.broken == ["proxy: two hosts: p99, s: 2.5, not <= 2"]


def test_limits_of_time_are_not_judged_on_a_machine_that_stood_still() -> None:
    """They are told as such and not as kept; what must hold anyway is still broken."""
    report = Report("x")
    report.timed("p99, s", 2.5, "<= 2", ok=False)
    report.must("wrong", 1, "0", ok=False)
    report.stood_still(60.0)
    assert [line.verdict for line in report.lines[:2]] == ["not judged: the machine stood still", "BROKEN"]
    assert len(report.broken) == 1

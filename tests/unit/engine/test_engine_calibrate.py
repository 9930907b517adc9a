"""The measured token budget: the smallest batch near the best rate, within time and memory, and remembered only where that works."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batching import calibrate
from batching.calibrate import NEAR_PEAK, SIZES, Point, cache_directory, choose, measure, recall, remember, undisturbed
from batching.types import OutOfMemory

curves = st.lists(st.floats(1e-4, 10.0), min_size=1, max_size=len(SIZES)).map(
    lambda seconds: [Point(tokens, one) for tokens, one in zip(SIZES, seconds, strict=False)]
)


@given(curves, st.floats(1e-4, 10.0))
def test_the_smallest_batch_near_the_best_rate_is_chosen(curve: list[Point], target_s: float) -> None:
    """Nothing smaller is as near to the peak, and the time limit is kept wherever any batch keeps it."""
    chosen = choose(curve, target_s)
    quick = [point for point in curve if point.seconds <= target_s]
    if not quick:
        assert chosen == curve[0].tokens
        return
    best = max(point.rate for point in quick)
    assert next(point.tokens for point in quick if point.rate >= NEAR_PEAK * best) == chosen


def test_a_larger_batch_must_be_worth_it() -> None:
    """A rate that grows by a few percent only does not make the budget grow."""
    assert choose([Point(256, 1.0), Point(512, 1.2), Point(1024, 2.2), Point(2048, 4.6)], 60) == 1024
    assert choose([Point(256, 1.0), Point(512, 1.99), Point(1024, 3.97)], 60) == 256


def test_measuring_ends_at_the_target_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No size is tried beyond the first that takes longer than the target."""
    curve = measured(monkeypatch, lambda tokens: tokens / 1000, target_s=1.0)
    assert [point.tokens for point in curve] == [256, 512, 1024]


def test_measuring_ends_when_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory is the end of the curve and no error."""

    def run(tokens: int) -> float:
        if tokens > 1024:
            raise OutOfMemory
        return 0.001

    assert [point.tokens for point in measured(monkeypatch, run)] == [256, 512, 1024]


def test_measuring_ends_when_rates_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sizes in a row that are slower per token are enough."""
    times = {256: 0.1, 512: 0.15, 1024: 0.4, 2048: 1.0, 4096: 3.0}
    assert [point.tokens for point in measured(monkeypatch, lambda tokens: times[tokens])] == [256, 512, 1024, 2048]


def test_measuring_respects_the_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing over what the queue or the model allows is tried; the smallest always is."""
    assert [point.tokens for point in measured(monkeypatch, lambda tokens: 0.001, largest=700)] == [256, 512]


def measured(monkeypatch: pytest.MonkeyPatch, run, *, target_s: float = 60.0, largest: int = 1 << 20) -> list[Point]:
    """Measure with `run(tokens)` giving the seconds that pass."""
    clock = [0.0]

    def step(tokens: int) -> None:
        clock[0] += run(tokens)

    monkeypatch.setattr(calibrate, "time", SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0]))
    return measure(step, target_s=target_s, limit_s=1e6, largest=largest)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_curves_are_remembered_by_key(cache: Path) -> None:
    """What was kept under one key comes back under it, and keys don't disturb each other."""
    remember("one", [Point(256, 0.5)])
    remember("two", [Point(512, 0.25)])
    assert recall("one") == [Point(256, 0.5)]
    assert recall("two") == [Point(512, 0.25)]
    assert recall("three") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"one": 5}', '{"one": [{"tokens": "x"}]}', "\0\0"])
def test_a_spoilt_cache_is_forgotten(cache: Path, text: str) -> None:
    """Whatever lies in the file, the worker measures again and then remembers."""
    cache.mkdir()
    (cache / "budgets.json").write_text(text)
    assert recall("one") is None
    remember("one", [Point(256, 0.5)])
    assert recall("one") == [Point(256, 0.5)]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory's place is taken by a file: nothing is remembered, nothing raised."""
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    remember("one", [Point(256, 0.5)])
    assert recall("one") is None


def test_where_curves_are_kept() -> None:
    """systemd's directory, else the user's cache, else the home's."""
    assert cache_directory({"CACHE_DIRECTORY": "/a:/b", "XDG_CACHE_HOME": "/c"}) == Path("/a")
    assert cache_directory({"XDG_CACHE_HOME": "/c"}) == Path("/c/rerankd")
    assert cache_directory({}) == Path.home() / ".cache" / "rerankd"


def test_a_busy_machine_is_not_remembered() -> None:
    """A curve is kept only if its process had at least most of a core; a team of threads has more."""
    assert undisturbed(3.9, 4.0)
    assert undisturbed(7.5, 4.0)
    assert not undisturbed(2.0, 4.0)

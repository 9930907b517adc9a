"""How late an event loop is, told from its beats."""

from __future__ import annotations

from pathlib import Path

import pytest

from batching.client import BEAT_S
from batching.queue_files import make_queue, queue_shape
from ops.bench.beats import LOOK_S, Beats, lags_ms


def test_a_lag_is_what_is_over_between_two_beats() -> None:
    """On time is no lag, early neither."""
    assert lags_ms([10.0, 10.0 + BEAT_S, 10.0 + 2 * BEAT_S + 0.004]) == pytest.approx([0.0, 4.0], abs=1e-6)
    assert lags_ms([1.0]) == []


def test_beats_are_read_from_the_arena(tmp_path: Path) -> None:
    """Each once, as it was written."""
    make_queue(tmp_path / "q", queue_shape(workers=1, owners=1, limit_tokens=1000, max_request_scores=10))
    beats = Beats(tmp_path / "q")
    arena = beats._arenas[0]
    beats.start()
    for moment in (5.0, 5.0, 5.5):
        arena.header["owner_beat"][0] = moment
        beats._stopping.wait(4 * LOOK_S)
    assert beats.stop()[-1] == pytest.approx((0.5 - BEAT_S) * 1e3)

"""How many cores there are to use, as affinity and a control group's quota say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batching.cores import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        (None, 8),
        ("", 8),
        ("max 100000\n", 8),
        ("1600000 100000\n", 8),
        ("800000 100000\n", 8),
        ("250000 100000\n", 2),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
    ],
)
def test_a_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, cores: int) -> None:
    """Of eight cores as many as the quota pays for in full, and never less than one; without a quota, or a group, all eight."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    if quota is not None:
        (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup/cpu.max").write_text(quota)
    assert usable_cores(tmp_path) == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_affinity_counts(tmp_path: Path) -> None:
    """A process that may run on one core has one, however many are built in."""
    before = os.sched_getaffinity(0)
    assert usable_cores(tmp_path) == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_a_system_without_affinity_has_what_is_built_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS says only how many cores there are, or not even that."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for built_in, cores in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=built_in: count)
        assert usable_cores(tmp_path) == cores

"""Packed weights lie once in memory, however many workers use them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batching.scoring.onednn import available
from batching.scoring.onednn.share import _c_library, fits
from batching.types import SHARED_WEIGHTS

pytestmark = [
    pytest.mark.skipif(available() is not None, reason=str(available())),
    pytest.mark.skipif(_c_library() is None, reason="needs Linux with glibc"),
]
_PROCESS = """
import re, sys, torch
from batching.scoring.onednn.share import packed, settle
torch.manual_seed(0)
def private():
    return int(re.search(r"Anonymous: +([0-9]+)", open("/proc/self/smaps_rollup").read()).group(1))
pack = torch.ops.mkldnn._reorder_linear_weight
theirs = [packed(lambda: pack(torch.randn(1536, 1536), 2048)) for _ in range(2)]
ours = [packed(lambda: torch.randn(1536, 1536).t().contiguous()) for _ in range(2)]
settle()
x = torch.ones(16, 1536)
total = sum(torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "").double().sum().item() for weight in theirs)
total += sum((x @ weight).double().sum().item() for weight in ours)
used, mapped = private(), open("/proc/self/maps").read().count(sys.argv[1])
del theirs, ours
again = [torch.ones(1 << 20).sum().item() for _ in range(20)]
print(total, used, mapped, open("/proc/self/maps").read().count(sys.argv[1]), flush=True)
"""


def child(place: Path | None) -> tuple[float, int, int, int]:
    """Four packed weights of 9 MiB, two by oneDNN and two as ours, in a process of its own: what they compute, its private KiB, files mapped, and the same at the end."""
    environment = {key: value for key, value in os.environ.items() if key != SHARED_WEIGHTS}
    environment |= {"OMP_NUM_THREADS": "1"} | ({SHARED_WEIGHTS: str(place)} if place else {})
    command = [sys.executable, "-c", _PROCESS, str(place)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=50)
    total, used, mapped, left = done.stdout.split()
    return float(total), int(used), int(mapped), int(left)


def side_by_side(*places: Path | None) -> list[tuple[float, int, int, int]]:
    """Children at once: most of their time goes into importing torch."""
    with ThreadPoolExecutor(len(places)) as threads:
        return list(threads.map(child, places))


def test_a_second_worker_costs_no_copy(tmp_path: Path) -> None:
    """With a place to share, a process holds 36 MiB less of its own, computes the same, and gives all back; a second one writes no file."""
    place = tmp_path / "weights"
    alone, first = side_by_side(None, place)
    files = {path.name: path.stat().st_ino for path in place.iterdir()}
    second = child(place)
    assert alone[0] == first[0] == second[0]
    assert len(files) == 4
    assert {path.name: path.stat().st_ino for path in place.iterdir()} == files
    for one in (first, second):
        assert alone[1] - one[1] > 30 * 1024
        assert one[2:] == (4, 0)


def test_many_files_leave_an_eighth_of_the_space() -> None:
    """However many matrices a model has, those that come after it find room."""
    space = free = 1 << 30
    while fits(8 << 20, free, space):
        free -= 8 << 20
    assert free == space // 8
    assert not fits(space // 2 + 1, space, space)


def test_what_can_not_be_shared_is_kept(tmp_path: Path) -> None:
    """A file with other bytes than the weight's is left alone, a place that can't be written is no error: the worker keeps its copy."""
    place = tmp_path / "weights"
    want = child(place)
    spoilt = next(iter(place.iterdir()))
    spoilt.chmod(0o600)
    spoilt.write_bytes(bytes(spoilt.stat().st_size))
    beside, nowhere = side_by_side(place, spoilt / "weights")
    assert beside[::2] == (want[0], 3)
    assert nowhere[::2] == (want[0], 0)

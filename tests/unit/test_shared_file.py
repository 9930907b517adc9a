"""Files that HTTP processes share: a process that is killed while it makes one costs its successors nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batching import files
from service.metrics_table import MetricsTable
from service.rate_limits import RateLimits
from service.shared_file import make_whole


class Killed(BaseException):
    """Stands for SIGKILL, which nothing catches."""


@pytest.mark.parametrize("allocated", [False, True], ids=["empty", "without its head"])
@pytest.mark.parametrize(
    "make",
    [lambda directory: MetricsTable(["a", "b"], 0, directory), lambda directory: RateLimits(1.0, 1.0, directory).admit("a")],
    ids=["metrics", "rates"],
)
def test_the_successor_of_a_killed_maker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], allocated: bool
) -> None:
    """Whenever the maker was killed, whoever comes next makes the file anew."""
    allocate = os.posix_fallocate

    def killed(*given: int) -> None:
        if allocated:
            allocate(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "posix_fallocate", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # nor does it tidy up
        with pytest.raises(Killed):
            make(tmp_path)
    make(tmp_path)


def test_the_first_file_stays(tmp_path: Path) -> None:
    """Whoever comes later, or makes it at the same time, takes the file that is there, and leaves nothing else behind."""
    make_whole(tmp_path / "file", 4096, b"head")
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(4092)
    make_whole(tmp_path / "file", 4096, b"other")
    assert (tmp_path / "file").read_bytes() == b"head" + bytes(4092)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_of_two_makers_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sees the other's file when it looks: the second to be ready keeps the first one's."""
    make_whole(tmp_path / "file", 4096, b"head")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    make_whole(tmp_path / "file", 4096, b"other")
    assert (tmp_path / "file").read_bytes().startswith(b"head")

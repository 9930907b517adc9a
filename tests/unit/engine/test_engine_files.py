"""Files shared by processes: space that is really there, locks that one holder has, bells that are only hints."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from batching import files
from batching.bell import MAX_PATH, Bell, Ringer, check_path
from batching.errors import StartError
from batching.files import FileLock, create, let_go, map_whole


def test_a_file_is_private_and_exactly_as_large_as_asked(tmp_path: Path) -> None:
    """Nobody else may read it, and all its bytes are zero."""
    create(tmp_path / "file", 5000)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").read_bytes() == bytes(5000)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A full file system names its place, the bytes and the setting, and leaves no file behind."""

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "posix_fallocate", full)
    with pytest.raises(StartError, match=r"no room in .* for 5,000 bytes .*RERANKER_RUNTIME_DIR"):
        create(tmp_path / "file", 5000)
    assert list(tmp_path.iterdir()) == []


def test_a_mapping_lives_as_long_as_its_views(tmp_path: Path) -> None:
    """Without a view it is closed at once; with one that is no error, and the view still reads and writes the file."""
    create(tmp_path / "file", 4096)
    free, held = map_whole(tmp_path / "file", 4096), map_whole(tmp_path / "file", 4096)
    view = memoryview(held)
    for mapping in (free, held):
        let_go(mapping)
    assert (free.closed, held.closed) == (True, False)
    view[0] = 7
    assert (tmp_path / "file").read_bytes()[0] == 7
    view.release()


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """While one holds it nobody else gets it; closing lets go."""
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.close()
    with first.hold(0.0) as held:
        assert held
        assert not FileLock(tmp_path / "lock").try_acquire()
    assert first.try_acquire()


def test_a_lock_is_not_waited_for_without_limit(tmp_path: Path) -> None:
    """A holder that stands still costs whoever wants it the patience they have; one that lets go in time, no more than that takes."""
    holder, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert holder.try_acquire()
    began = time.monotonic()
    assert not other.acquire(0.1)
    assert 0.1 <= time.monotonic() - began < 1.0
    with other.hold(0.05) as held:
        assert not held
    threading.Timer(0.05, holder.release).start()
    assert other.acquire(10.0)
    assert time.monotonic() - began < 5.0
    other.close()


def test_a_bell_wakes_its_listener(short_path: Path) -> None:
    """A ring ends the wait at once, several rings are one wake-up, and none lets it time out."""
    bell, ringer = Bell(short_path / "bell"), Ringer()
    assert not bell.wait(0.0)
    for _ in range(1000):
        ringer.ring(str(short_path / "bell"))
    began = time.monotonic()
    assert bell.wait(10.0)
    assert time.monotonic() - began < 1.0
    assert not bell.wait(0.0)
    bell.close()
    ringer.close()


def test_ringing_never_fails(short_path: Path) -> None:
    """Nobody there, a listener that died, or one that never looks: a ring is lost without a word."""
    ringer = Ringer()
    ringer.ring(str(short_path / "nobody"))
    bell = Bell(short_path / "bell")
    for _ in range(5000):
        ringer.ring(str(short_path / "bell"))
    bell.close()
    ringer.ring(str(short_path / "bell"))
    ringer.close()


def test_a_successor_takes_the_bell_over(short_path: Path) -> None:
    """The path of a dead listener's socket is bound anew, and rings reach the new one."""
    Bell(short_path / "bell").close()
    bell, ringer = Bell(short_path / "bell"), Ringer()
    ringer.ring(str(short_path / "bell"))
    assert bell.wait(1.0)
    bell.close()
    ringer.close()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    """The error comes before anything is made and names the setting."""
    check_path(Path("/" + "x" * (MAX_PATH - 1)))
    with pytest.raises(StartError, match="RERANKER_RUNTIME_DIR"):
        check_path(Path("/" + "x" * MAX_PATH))


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1300, reason="needs 1,300 open files")
def test_a_bell_may_have_any_number(short_path: Path) -> None:
    """Descriptors above 1023, which `select` does not know, are waited for like others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    taken = [os.dup(0) for _ in range(1100)]
    bell, ringer = Bell(short_path / "bell"), Ringer()
    assert bell.fileno() > 1023
    assert not bell.wait(0.0)
    ringer.ring(str(short_path / "bell"))
    assert bell.wait(10.0)
    bell.close()
    ringer.close()
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

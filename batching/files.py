"""Small things about files in the runtime directory that several processes share: sizes reserved, locks that die with their holder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from batching.errors import LayoutMismatch, StartError


def create(path: Path, size: int) -> None:
    """Make a file of `size` bytes whose space is really there, so that a full tmpfs is an error now and no SIGBUS later.

    Raises StartError naming the directory and the bytes when there is no room.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS: writing zeros is what reserves
            os.write(descriptor, bytes(size))
    except OSError as error:
        path.unlink()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StartError(
                f"no room in {path.parent} for {size:,} bytes of shared memory; free some or set RERANKER_RUNTIME_DIR"
            ) from error
        raise
    finally:
        os.close(descriptor)


def map_whole(path: Path, least: int) -> mmap.mmap:
    """Map all of a file for reading and writing. Raises LayoutMismatch when it has fewer than `least` bytes."""
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < least:
            raise LayoutMismatch(f"{path} was cut short, or is no file of rerankd's")
        return mmap.mmap(file.fileno(), 0)


def let_go(mapping: mmap.mmap) -> None:
    """Close a mapping, or leave it to the views of it that somebody still holds: it goes with the last of them."""
    with contextlib.suppress(BufferError):
        mapping.close()


class FileLock:
    """An exclusive `flock`; the kernel releases it when its holder dies. Never waited for without limit; not recursive."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def try_acquire(self) -> bool:
        """Take the lock if it is free now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, patience_s: float) -> bool:
        """Take the lock as soon as it is free; False when it was not within `patience_s`: its holder may stand still."""
        if self.try_acquire():
            return True
        until, pause_s = time.monotonic() + patience_s, 50e-6
        while time.monotonic() < until:
            time.sleep(pause_s)
            if self.try_acquire():
                return True
            pause_s = min(2 * pause_s, 1e-3)
        return False

    @contextlib.contextmanager
    def hold(self, patience_s: float) -> Iterator[bool]:
        """Hold the lock for a block, if it is to be had within `patience_s`; whether it is held."""
        held = self.acquire(patience_s)
        try:
            yield held
        finally:
            if held:
                self.release()

    def release(self) -> None:
        """Give the lock back."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which also releases the lock."""
        os.close(self._descriptor)


_fence = threading.Lock()


def barrier() -> None:
    """Keep the writes before it before the writes after it, as other processes see them: a lock's round trip is a full fence."""
    with _fence:
        pass

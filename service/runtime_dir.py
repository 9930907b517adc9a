"""The runtime directory: one instance's whole state on tmpfs, private, and gone after it. A stale one is cleared by the next start."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path

from batching.errors import SettingError, StartError
from batching.files import FileLock

_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG}
"""Why a directory can't be made, where trying again later won't help."""


def base(environ: dict[str, str], setting: str | None) -> Path:
    """Where runtime directories are made: the setting, systemd's, the session's, /dev/shm, or the system's temporary directory.

    Raises SettingError where the setting names a file.
    """
    if setting:
        with contextlib.suppress(OSError):  # where we may not look, none can be made either, which is told then
            if Path(setting).is_file():
                raise SettingError(f"RERANKER_RUNTIME_DIR={setting!r} is a file; it takes a directory, which is made where there is none")
        return Path(setting)
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        directory = environ.get(name, "").partition(":")[0]
        if directory and os.access(directory, os.W_OK | os.X_OK):
            return Path(directory)
    shared_memory = Path("/dev/shm")  # noqa: S108  a directory of our own, 0700, is made in it
    return shared_memory if os.access(shared_memory, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def passing(parent: Path) -> tempfile.TemporaryDirectory[str]:
    """A directory under `parent` for one command's queue, gone with it. Raises StartError, SettingError for a place where it can't be."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="rerankd-local-", dir=parent)
    except OSError as error:
        raise _cannot_be_made(parent, error) from error


def _cannot_be_made(path: Path, error: OSError) -> StartError:
    kind = SettingError if error.errno in _LASTING else StartError
    return kind(f"the runtime directory {path} can't be made ({error.strerror}); set RERANKER_RUNTIME_DIR")


class RuntimeDir:
    """The directory of instance `name` under `parent`, held by a lock for as long as the supervisor lives.

    Raises StartError when a live instance holds it or it belongs to somebody else, SettingError for a place where it can't be.
    """

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / f"rerankd-{name}"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.is_symlink():
                raise StartError(f"{self.path} is a link, which may lead anywhere; remove it or set RERANKER_RUNTIME_DIR")
            owner = self.path.stat().st_uid
            if owner != os.getuid():
                raise StartError(f"{self.path} belongs to another user (uid {owner}); set RERANKER_RUNTIME_DIR to a directory of your own")
            self.path.chmod(0o700)
            self._lock = FileLock(self.path / "lock")
        except OSError as error:
            raise _cannot_be_made(self.path, error) from error
        if not self._lock.try_acquire():
            raise StartError(
                f"another rerankd is running as instance {name!r} ({self.path} is locked); stop it, or choose another RERANKER_PORT, or, "
                "for the same port at another address, another RERANKER_RUNTIME_DIR"
            )
        self._clear()

    def _clear(self) -> None:
        """Remove what an instance that was killed left behind."""
        for left in self.path.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != "lock":
                left.unlink()

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()

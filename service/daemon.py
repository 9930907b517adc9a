"""A service in the background on hosts without systemd: start, stop, status. The commands that use it are in `commands/ctl.py`.

The started service holds a lock on its state file for as long as it lives, so that a process id is believed only while it is true. It tells
that it is ready in sd_notify's datagrams, as it would tell systemd; a service that can't start is told with its own last lines.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from batching.errors import StartError

ROTATE_BYTES = 32 << 20
"""A log longer than this is put aside at the next start."""
LAST_LINES = 5
END_S = 10.0
"""For a start that is given up to clear away what it made."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What the state file says of a running service."""

    pid: int
    arguments: list[str]
    address: str
    started_at: float
    """Seconds since the epoch."""


def state_directory(environ: Mapping[str, str]) -> Path:
    """Where state files and logs lie: XDG_STATE_HOME, else ~/.local/state (XDG base directory specification)."""
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".local" / "state"
    return Path(home) / "rerankd"


class Daemon:
    """One named instance. Raises StartError, one line with its remedy, for what can't be done."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.state_file, self.log_file = directory / f"{name}.json", directory / f"{name}.log"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"{directory} can't be made ({error.strerror}); give --directory") from error

    def running(self) -> Started | None:
        """Return what runs, or None. A file whose lock nobody holds is left over from a service that is gone."""
        try:
            descriptor = os.open(self.state_file, os.O_RDWR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError(f"{self.state_file} can't be opened ({error.strerror}); is it another user's?") from error
        try:
            return None if _lock(descriptor) else self._read()
        finally:
            os.close(descriptor)

    def _read(self) -> Started:
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=Started)
        except (msgspec.MsgspecError, OSError) as error:
            raise StartError(f"instance {self.name!r} is being started by somebody else ({self.state_file})") from error

    def last(self) -> Started | None:
        """Return what ran or runs, for a restart with the same arguments."""
        try:
            return self._read() if self.state_file.exists() else None
        except StartError:
            return None

    def start(self, arguments: Sequence[str], limit_s: float, environ: Mapping[str, str]) -> Started:
        """Run `rerankd serve ARGUMENTS` in the background and return once it is ready. Times in seconds."""
        try:
            descriptor = os.open(self.state_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(f"{self.state_file} can't be written to ({error.strerror}); give --directory") from error
        try:
            if not _lock(descriptor):
                raise StartError(f"instance {self.name!r} is running already; use restart, or another --name")
            os.ftruncate(descriptor, 0)
            begins = self._rotate()
            with tempfile.TemporaryDirectory(prefix="rerankd-") as private, _listen(Path(private)) as heard:
                process = self._spawn(arguments, descriptor, {**environ, "NOTIFY_SOCKET": heard.getsockname()})
                try:
                    address = self._wait_ready(process, heard, limit_s, begins)
                except BaseException:  # Ctrl-C too: without a state file nobody could stop it any more
                    _end(process)
                    raise
            found = Started(pid=process.pid, arguments=list(arguments), address=address, started_at=time.time())
            os.write(descriptor, msgspec.json.encode(found))
            return found
        finally:
            os.close(descriptor)  # the service's own copy keeps the lock

    def _spawn(self, arguments: Sequence[str], lock: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from service.cli import main; main()", "serve", *arguments]
        with self.log_file.open("ab") as log:
            self.log_file.chmod(0o600)
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock,), start_new_session=True, env=dict(environ)
            )

    def _wait_ready(self, process: subprocess.Popen[bytes], heard: socket.socket, limit_s: float, begins: int) -> str:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if process.poll() is not None:
                raise StartError(f"the service ended with exit code {process.returncode}: {self._last_words(begins)}")
            if select.select([heard], [], [], 0.1)[0] and (address := _ready_address(heard.recv(4096))):
                return address
        raise StartError(f"not ready within {limit_s:g} s, stopped again; its log is {self.log_file} (--timeout gives it longer)")

    def _last_words(self, begins: int) -> str:
        said = self.log_file.read_bytes()[begins:].decode("utf-8", "replace").splitlines()
        return " / ".join(said[-LAST_LINES:]) or "it said nothing"

    def _rotate(self) -> int:
        """Put a long log aside; returns where this start's lines will begin."""
        size = self.log_file.stat().st_size if self.log_file.exists() else 0
        if size <= ROTATE_BYTES:
            return size
        self.log_file.replace(self.log_file.with_suffix(".log.1"))
        return 0

    def stop(self, limit_s: float) -> float:
        """Ask the service to drain and wait; after `limit_s` seconds it is killed. Returns the seconds that took; 0 when nothing ran."""
        found = self.running()
        if found is None:
            return 0.0
        begun = time.monotonic()
        for number, patience in ((signal.SIGTERM, limit_s), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if not _signal(found.pid, number):
                break
            if self._gone(time.monotonic() + patience):
                return time.monotonic() - begun
        if self.running():
            raise StartError(f"process {found.pid} can't be stopped; is it another user's?")
        return time.monotonic() - begun

    def _gone(self, until: float) -> bool:
        while self.running():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def reload(self) -> None:
        """Make the service read its keys again."""
        found = self.running()
        if found is None or not _signal(found.pid, signal.SIGHUP):
            raise StartError(f"instance {self.name!r} is not running")

    def tail(self, lines: int) -> list[str]:
        """Return the log's last lines."""
        try:
            with self.log_file.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - 65536 - 400 * lines))
                found = log.read().decode("utf-8", "replace").splitlines()
                return found[max(0, len(found) - lines) :]
        except FileNotFoundError:
            return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a service that serves nobody yet."""
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    finally:
        process.kill()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _listen(directory: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind(str(directory / "notify"))
    return one


def _ready_address(message: bytes) -> str:
    said = dict(line.partition("=")[::2] for line in message.decode("utf-8", "replace").splitlines())
    return said.get("X_RERANKD_ADDRESS", "") if said.get("READY") == "1" else ""

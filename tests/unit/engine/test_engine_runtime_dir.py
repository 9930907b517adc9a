"""The runtime directory: private, held by one live instance, cleared of what a dead one left, gone after a stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batching.errors import SettingError, StartError
from service.runtime_dir import RuntimeDir, base, passing

HOLD = """
import pathlib, sys
from service.runtime_dir import RuntimeDir
runtime = RuntimeDir(pathlib.Path(sys.argv[1]), "x")
(runtime.path / "0").mkdir()
(runtime.path / "0" / "arena.0").touch()
print("held", flush=True)
sys.stdin.read()
"""


def test_it_is_private_and_gone_after_removal(tmp_path: Path) -> None:
    """Mode 0700 whatever the umask; nothing left once removed."""
    before = os.umask(0)
    try:
        runtime = RuntimeDir(tmp_path, "one")
    finally:
        os.umask(before)
    assert runtime.path.stat().st_mode & 0o777 == 0o700
    (runtime.path / "0").mkdir()
    (runtime.path / "0" / "arena.0").touch()
    runtime.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_live_instance_is_not_disturbed(tmp_path: Path) -> None:
    """A second start under the name fails with what to do, and takes nothing away."""
    first = RuntimeDir(tmp_path, "one")
    (first.path / "board").touch()
    with pytest.raises(StartError, match=r"another rerankd is running as instance 'one'.*RERANKER_PORT.*RERANKER_RUNTIME_DIR"):
        RuntimeDir(tmp_path, "one")
    assert (first.path / "board").exists()
    second = RuntimeDir(tmp_path, "two")
    second.remove()
    first.remove()


def test_what_a_killed_instance_left_is_cleared(tmp_path: Path) -> None:
    """Its holder was killed: the next start under the name takes over an empty directory."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(StartError, match="another rerankd"):
            RuntimeDir(tmp_path, "x")
        holder.kill()
        holder.communicate()
    runtime = RuntimeDir(tmp_path, "x")
    assert [left.name for left in runtime.path.iterdir()] == ["lock"]
    runtime.remove()


def test_a_widened_directory_is_made_private_again(tmp_path: Path) -> None:
    """A directory that others could read is closed before anything is put in."""
    (tmp_path / "rerankd-one").mkdir()
    (tmp_path / "rerankd-one").chmod(0o777)
    runtime = RuntimeDir(tmp_path, "one")
    assert runtime.path.stat().st_mode & 0o777 == 0o700
    runtime.remove()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    """Whoever made the directory first could read everything: refused, with the remedy."""
    (tmp_path / "rerankd-one").mkdir()
    os.chown(tmp_path / "rerankd-one", 12345, 12345)
    with pytest.raises(StartError, match=r"belongs to another user \(uid 12345\).*RERANKER_RUNTIME_DIR"):
        RuntimeDir(tmp_path, "one")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """In a directory that all may write to, a link under our name may lead to anything: nothing behind it is touched."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter").write_text("dear")
    (tmp_path / "rerankd-one").symlink_to(tmp_path / "precious")
    with pytest.raises(StartError, match="is a link"):
        RuntimeDir(tmp_path, "one")
    assert (tmp_path / "precious" / "letter").read_text() == "dear"


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """The parent is a file: one line that names the setting, which is wrong for as long as it stays."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="RERANKER_RUNTIME_DIR"):
        RuntimeDir(tmp_path / "file", "one")
    with pytest.raises(SettingError, match=r"^RERANKER_RUNTIME_DIR='.*/file' is a file"):
        base({}, str(tmp_path / "file"))


def test_a_command_makes_its_place(tmp_path: Path) -> None:
    """What RERANKER_RUNTIME_DIR names is made where there is none, as for a service; of the command's own nothing is left."""
    with passing(tmp_path / "new" / "place") as made:
        assert Path(made).parent == tmp_path / "new" / "place"
    assert not list((tmp_path / "new" / "place").iterdir())


def test_where_it_is_made(tmp_path: Path) -> None:
    """The setting, then systemd's directory, then the session's, then shared memory; places that can't be written are passed over."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "session").mkdir()
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}/systemd:/other", "XDG_RUNTIME_DIR": f"{tmp_path}/session"}
    assert base(environ, "/set") == Path("/set")
    assert base(environ, None) == tmp_path / "systemd"
    assert base({"XDG_RUNTIME_DIR": f"{tmp_path}/session"}, None) == tmp_path / "session"
    assert base({"XDG_RUNTIME_DIR": f"{tmp_path}/missing"}, None) in {Path("/dev/shm"), Path("/tmp")}

"""Listening sockets: a port in use is an error before anything else, spread or shared as the platform allows, Unix sockets cleaned up."""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
from pathlib import Path

import pytest

from batching.errors import SettingError, StartError
from service import listen


def answered(sockets: list[socket.socket]) -> socket.socket:
    """The one of our sockets that took the connection just made."""
    return select.select(sockets, [], [], 2.0)[0][0]


def test_every_process_has_a_socket_on_one_port() -> None:
    """Port 0 becomes one port for all, on which connections arrive."""
    sockets = listen.listen("127.0.0.1", 0, None, 3)
    port = sockets[0].getsockname()[1]
    assert {one.getsockname()[1] for one in sockets} == {port}
    assert len({one.fileno() for one in sockets}) == (3 if sys.platform == "linux" else 1)
    assert listen.address(sockets, tls=False) == f"http://127.0.0.1:{port}"
    assert listen.address(sockets, tls=True) == f"https://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port)):
        answered(sockets).accept()[0].close()
    listen.close(sockets, None)


@pytest.mark.parametrize("spread", [True, False])
def test_a_port_in_use_is_refused(spread: bool) -> None:
    """Even one whose listener would share it, as another rerankd would: the address and the remedy are named."""
    with socket.socket() as other:
        if spread:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"can't listen on 127.0.0.1:{port}: it is in use.*RERANKER_PORT"):
            listen.listen("127.0.0.1", port, None, 2)


def test_two_services_on_one_port_are_refused() -> None:
    """The second start fails though both would spread their sockets, and the first goes on."""
    first = listen.listen("127.0.0.1", 0, None, 2)
    port = first[0].getsockname()[1]
    with pytest.raises(StartError, match="in use"):
        listen.listen("127.0.0.1", port, None, 2)
    with socket.create_connection(("127.0.0.1", port)):
        answered(first).accept()[0].close()
    listen.close(first, None)
    listen.close(listen.listen("127.0.0.1", port, None, 2), None)


def test_an_address_that_is_not_ours_is_refused() -> None:
    """One line with the address and its setting; it may be there later, so the setting isn't wrong."""
    with pytest.raises(
        StartError, match=r"can't listen on 192\.0\.2\.1:8000: this machine has no such address; set RERANKER_HOST"
    ) as refused:
        listen.listen("192.0.2.1", 8000, None, 1)
    assert not isinstance(refused.value, SettingError)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), SettingError, "Name or service not known; set RERANKER_HOST"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), StartError, "Temporary failure; set RERANKER_HOST"),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            StartError,
            "not permitted; ports below 1024 need a capability: set RERANKER_PORT",
        ),
    ],
)
def test_a_host_is_refused_in_the_resolvers_words(
    error: OSError, kind: type[StartError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is unknown is a wrong setting; a resolver that is not up yet is none."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(listen, "_tcp", refuse)
    with pytest.raises(StartError, match=f"^can't listen on a.example:80: {words}") as refused:
        listen.listen("a.example", 80, None, 1)
    assert type(refused.value) is kind


def test_a_host_that_is_no_name_is_refused() -> None:
    """What can't even be asked for is a wrong setting."""
    with pytest.raises(SettingError, match=r"can't listen on ä{64}:80: not a host's name; set RERANKER_HOST"):
        listen.listen("ä" * 64, 80, None, 1)


def test_ipv6() -> None:
    """An address with colons is IPv6 and is shown in brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        sockets = listen.listen("::1", 0, None, 1)
    except StartError:
        pytest.skip("no IPv6 here")
    assert listen.address(sockets, tls=False).startswith("http://[::1]:")
    listen.close(sockets, None)


def test_a_unix_socket_is_shared_and_removed(short_path: Path) -> None:
    """All processes have the same one; closing takes its file away."""
    path = short_path / "rerankd.sock"
    sockets = listen.listen("", 0, str(path), 2)
    assert sockets[0] is sockets[1]
    assert listen.address(sockets, tls=False) == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
        answered(sockets[:1]).accept()[0].close()
    listen.close(sockets, str(path))
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(short_path: Path) -> None:
    """A socket file that nobody listens on is what a killed service left."""
    path = short_path / "rerankd.sock"
    listen.listen("", 0, str(path), 1)[0].close()
    assert path.exists()
    listen.close(listen.listen("", 0, str(path), 1), str(path))


def test_a_living_unix_socket_is_refused(short_path: Path) -> None:
    """Somebody listens there: refused, and they go on."""
    path = short_path / "rerankd.sock"
    first = listen.listen("", 0, str(path), 1)
    with pytest.raises(StartError, match=r"in use.*RERANKER_UDS"):
        listen.listen("", 0, str(path), 1)
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))
    listen.close(first, str(path))


def test_a_file_in_the_way_is_kept(short_path: Path) -> None:
    """What is no socket is not ours to remove, and nobody listens there."""
    (short_path / "file").write_text("precious")
    (short_path / "link").symlink_to(short_path / "gone")
    for name in ("file", "link", "."):
        with pytest.raises(SettingError, match=r"RERANKER_UDS='.*': what is there is no socket"):
            listen.listen("", 0, str(short_path / name), 1)
    assert (short_path / "file").read_text() == "precious"


def test_a_socket_that_has_no_place_is_refused(short_path: Path) -> None:
    """No directory, a file for one, too long a path, or one that we may not write to: the setting is named with the reason."""
    (short_path / "file").touch()
    for path, words in (
        (short_path / "none" / "s", r"/none is no directory that we may write to \(No such file or directory\)"),
        (short_path / "file" / "s", r"/file is no directory that we may write to \(Not a directory\)"),
        (short_path / ("x" * 200), r"bytes too long for a socket's path, which takes 10\d"),
    ):
        with pytest.raises(SettingError, match=rf"RERANKER_UDS='{path}'.*{words}"):
            listen.listen("", 0, str(path), 1)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_socket_in_a_directory_of_others_is_refused(short_path: Path) -> None:
    """The directory is named, and no port."""
    short_path.chmod(0o500)
    with pytest.raises(SettingError, match=r"RERANKER_UDS='.*': .* is no directory that we may write to \(Permission denied\)"):
        listen.listen("", 0, str(short_path / "s"), 1)

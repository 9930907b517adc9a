"""Listening sockets: a port in use is an error before anything else, spread or shared as the platform allows, Unix sockets cleaned up."""

from __future__ import annotations

import select
import socket
import sys
from pathlib import Path

import pytest

from batching.errors import StartError
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
    """One line with the address."""
    with pytest.raises(StartError, match=r"can't listen on 192\.0\.2\.1:8000"):
        listen.listen("192.0.2.1", 8000, None, 1)


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
    """What is no socket is not ours to remove."""
    (short_path / "file").write_text("precious")
    with pytest.raises(StartError, match="in use"):
        listen.listen("", 0, str(short_path / "file"), 1)
    assert (short_path / "file").read_text() == "precious"

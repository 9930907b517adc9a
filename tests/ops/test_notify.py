"""What the supervisor tells its service manager, through a real datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(1.0)
        yield listener


def heard(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())


def silent(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    finally:
        manager.settimeout(1.0)
    return False


@pytest.fixture
def notifier(manager: socket.socket) -> Iterator[Callable[..., Notifier]]:
    with contextlib.ExitStack() as stack:
        yield lambda **more: stack.enter_context(contextlib.closing(Notifier({"NOTIFY_SOCKET": manager.getsockname(), **more})))


def test_ready_names_the_address(manager: socket.socket, notifier: Callable[..., Notifier]) -> None:
    """READY, STATUS and the address arrive in one datagram."""
    notifier().ready("ready at http://127.0.0.1:8000", "http://127.0.0.1:8000")
    assert heard(manager) == {
        "READY": "1",
        "STATUS": "ready at http://127.0.0.1:8000",
        "X_RERANKD_ADDRESS": "http://127.0.0.1:8000",
    }


def test_children_can_not_speak_for_the_supervisor(manager: socket.socket) -> None:
    """The variables are gone from the environment that children inherit."""
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    Notifier(environ).close()
    assert environ == {"HOME": "/"}


def test_a_status_is_said_once(manager: socket.socket, notifier: Callable[..., Notifier]) -> None:
    """The same line is not sent again; a line break in it would be another message."""
    one = notifier()
    one.status("a\nREADY=1")
    one.status("a\nREADY=1")
    assert heard(manager) == {"STATUS": "a READY=1"}
    assert silent(manager)


def test_the_watchdog_is_fed_before_it_bites_and_no_more(manager: socket.socket, notifier: Callable[..., Notifier]) -> None:
    """Ten seconds of watchdog are fed every three."""
    one = notifier(WATCHDOG_USEC="10000000", WATCHDOG_PID=str(os.getpid()))
    fed = [second for second in range(11) if one.feed(float(second))]
    assert fed == [0, 3, 6, 9]
    assert [heard(manager) for _ in fed] == [{"WATCHDOG": "1"}] * len(fed)


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}]
)
def test_a_watchdog_that_is_not_ours_is_not_fed(
    manager: socket.socket, notifier: Callable[..., Notifier], watchdog: dict[str, str]
) -> None:
    """No watchdog, a broken one, or another process's: nothing is sent."""
    assert not notifier(**watchdog).feed(0.0)
    assert silent(manager)


def test_an_abstract_socket_is_reached() -> None:
    """A name that starts with @ lies outside the file system."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0rerankd-test-{os.getpid()}")
        listener.settimeout(1.0)
        with contextlib.closing(Notifier({"NOTIFY_SOCKET": f"@rerankd-test-{os.getpid()}"})) as one:
            one.stopping()
        assert heard(listener) == {"STOPPING": "1", "STATUS": "draining"}


def test_a_manager_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    """Serving goes on when nobody listens, or nobody ever did."""
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "none")}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        one = Notifier(environ)
        one.ready("ready", "http://localhost")
        one.close()
        one.stopping()

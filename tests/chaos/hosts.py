"""Network namespaces in the place of hosts: a front and some backs, each back joined to the front by a cable of its own. Addresses exist in them only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


def program(name: str) -> str | None:
    """Where a program of the system lies, if it is there."""
    return shutil.which(name, path=PATH)


def lacking() -> str:
    """Why there can be no hosts here; empty where there can."""
    ip = program("ip")
    if ip is None:
        return "ip is not installed (package iproute2)"
    name = f"rr{os.getpid()}-probe"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces are not permitted here: {made.stderr.strip()}"
    linked = subprocess.run([ip, "-n", name, "link", "add", "cable", "type", "veth", "peer", "name", "other"], capture_output=True, text=True, check=False)  # fmt: skip
    subprocess.run([ip, "netns", "delete", name], check=False)
    return f"no virtual cables here: {linked.stderr.strip()}" if linked.returncode else ""


class Hosts:
    """`with`: so many backs behind one front. `address(0)` is the first back's, reached from the front."""

    def __init__(self, backs: int) -> None:
        self._ip = program("ip") or "ip"
        self.front = f"rr{os.getpid()}-front"
        self.backs = [f"rr{os.getpid()}-back{number}" for number in range(backs)]

    def address(self, back: int) -> str:
        return f"10.213.{back}.2"

    def inside(self, host: str, command: Sequence[str]) -> list[str]:
        """The command, as run on that host."""
        return [self._ip, "netns", "exec", host, *command]

    def _do(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True)

    def __enter__(self) -> Hosts:
        try:
            for host in (self.front, *self.backs):
                self._do("netns", "add", host)
                self._do("-n", host, "link", "set", "lo", "up")
            for number, back in enumerate(self.backs):
                near, far = f"to{number}", "front"
                self._do("-n", self.front, "link", "add", near, "type", "veth", "peer", "name", far, "netns", back)
                for host, cable, address in ((self.front, near, f"10.213.{number}.1/30"), (back, far, f"{self.address(number)}/30")):
                    self._do("-n", host, "address", "add", address, "dev", cable)
                    self._do("-n", host, "link", "set", cable, "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for host in (self.front, *self.backs):
            subprocess.run([self._ip, "netns", "delete", host], capture_output=True, check=False)

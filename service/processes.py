"""How the HTTP processes are, as their parent tells all of them: a small shared table in the runtime directory, one row each.

The supervisor writes it; a process writes nothing but why it can't start. Read for readiness and metrics, whichever process is asked.
"""

from __future__ import annotations

from enum import StrEnum, auto
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from batching.files import create, let_go, map_whole

EXIT_CANNOT_START = 2
"""An HTTP process's exit code that says: starting me again will not help. The reason then stands in the table."""


class Cause(StrEnum):
    """Why an HTTP process had to be started again; a label of the restarts metric."""

    CRASH = auto()
    """It ended by itself, or by a signal that it brought upon itself."""
    KILLED = auto()
    """Somebody else ended it, or the kernel for want of memory."""
    STUCK = auto()
    """Its event loop stood still, so that its parent killed it."""
    REFUSED = auto()
    """It said that it can't start."""


ROW = np.dtype(
    [
        ("looping", "<u4"),
        ("unused", "<u4"),
        ("crash_loops", "<u8"),
        ("restarts", "<u8", (len(Cause),)),
        ("reason", "S464"),
    ]
)


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP process. `looping`: it crashed too often in a row and is started again only now and then; `reason`: how it last ended."""

    index: int
    looping: bool
    crash_loops: int
    restarts: dict[Cause, int]
    reason: str


class Processes:
    """A mapping of the table's file."""

    def __init__(self, path: Path) -> None:
        self._map = map_whole(path, ROW.itemsize)
        self.rows: NDArray[np.void] = np.frombuffer(self._map, ROW)

    @staticmethod
    def make(path: Path, count: int) -> Processes:
        """Create the table of `count` processes, all well. Raises StartError when there is no room."""
        create(path, count * ROW.itemsize)
        return Processes(path)

    def tell(self, index: int, reason: str) -> None:
        """Say why process `index` ended, or can't start."""
        self.rows["reason"][index] = reason.encode()[: ROW["reason"].itemsize]

    def ended(self, index: int, cause: Cause) -> None:
        """Count an end of process `index` that makes a new start necessary."""
        self.rows["restarts"][index][list(Cause).index(cause)] += 1

    def looping(self, index: int, looping: bool) -> None:
        """Say whether process `index` is in a crash loop, and count when it comes into one."""
        if looping and not self.rows["looping"][index]:
            self.rows["crash_loops"][index] += 1
        self.rows["looping"][index] = looping

    def view(self) -> list[ProcessView]:
        """How every process is."""
        return [
            ProcessView(
                index=index,
                looping=bool(row["looping"]),
                crash_loops=int(row["crash_loops"]),
                restarts=dict(zip(Cause, row["restarts"].tolist(), strict=True)),
                reason=bytes(row["reason"]).rstrip(b"\0").decode("utf-8", "replace"),
            )
            for index, row in enumerate(self.rows)
        ]

    def trouble(self) -> str:
        """Why work should not be sent here although this process is well: another's connections would wait in vain. Empty where none is."""
        return "; ".join(f"HTTP process {one.index} keeps crashing ({one.reason})" for one in self.view() if one.looping)

    def close(self) -> None:
        """Let go of the mapping; views still held elsewhere keep it alive until they go."""
        del self.rows
        let_go(self._map)


def processes_file(directory: Path) -> Path:
    """Where the table lies in a runtime directory."""
    return directory / "processes"

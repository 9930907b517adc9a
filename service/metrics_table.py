"""Where HTTP processes count: a file each of plain numbers in the order in which they were declared, and their sums over all files.

Counting is one addition in mapped memory; a sum over all processes reads eight bytes a number. A successor goes on where its predecessor
died, since the file stays. All processes of a service declare the same numbers; what only shows while serving (keys) has rows of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batching.errors import LayoutMismatch, StartError
from batching.files import map_whole
from service.shared_file import make_whole

MAGIC = b"rerankdM"
HEADER = struct.Struct("<8s16sQ")
HEADER_BYTES = 64
NAMED_ROWS = 1024
"""Of names that are learnt while serving; those that find no row count under the last one's name, OTHERS."""
OTHERS = "(others)"
NAMED = np.dtype([("name", "S112"), ("requests", "<f8"), ("tokens", "<f8")])


class MetricsTable:
    """The numbers of one process, `values` float64, and everybody's."""

    def __init__(self, declared: Sequence[str], index: int = 0, directory: Path | None = None, *, named: bool = False) -> None:
        """`declared`: what each number is; `directory`: where the files are, None for one process alone. Raises StartError."""
        self._size = len(declared)
        self._head = HEADER.pack(MAGIC, hashlib.blake2b("\n".join(declared).encode(), digest_size=16).digest(), self._size)
        self._rows = NAMED_ROWS if named else 0
        self._directory = directory
        self._others: dict[str, tuple[NDArray[np.float64], NDArray[np.void]]] = {}
        if directory is None:
            self.values, self._named = np.zeros(self._size), np.zeros(self._rows, NAMED)
        else:
            self.values, self._named = self._own(directory / f"counts.{index}")
        self.plain = self.values.data.cast("B").cast("d")
        """The same numbers, for plain reads and writes: a tenth of NumPy's cost."""
        self._places: dict[str, int] = {}

    def _bytes(self) -> int:
        return HEADER_BYTES + 8 * self._size + NAMED.itemsize * self._rows

    def _own(self, path: Path) -> tuple[NDArray[np.float64], NDArray[np.void]]:
        try:
            make_whole(path, self._bytes(), self._head)
        except StartError as error:
            raise StartError(f"cannot keep metrics: {error}") from error
        found = self._map(path)
        if found is None:
            raise LayoutMismatch(f"{path} was made with other settings")
        return found

    def _map(self, path: Path) -> tuple[NDArray[np.float64], NDArray[np.void]] | None:
        """Map a process's file; None while its head is not the one that ours has."""
        mapped = map_whole(path, self._bytes())
        if mapped[: HEADER.size] != self._head:
            return None
        values = np.frombuffer(mapped, np.float64, self._size, HEADER_BYTES)
        return values, np.frombuffer(mapped, NAMED, self._rows, HEADER_BYTES + 8 * self._size)

    def sums(self) -> list[float]:
        """Return every number, summed over all processes."""
        found: list[float] = sum((values for values, _ in self._all()), np.zeros(self._size)).tolist()
        return found

    def _all(self) -> list[tuple[NDArray[np.float64], NDArray[np.void]]]:
        if self._directory is None:
            return [(self.values, self._named)]
        for path in self._directory.glob("counts.*"):
            if path.name not in self._others:
                with contextlib.suppress(OSError, LayoutMismatch):  # it is no file of ours
                    if (found := self._map(path)) is not None:
                        self._others[path.name] = found
        return list(self._others.values())

    def add_named(self, name: str, requests: int, tokens: int) -> None:
        """Count for a name."""
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = self._place(name)
        row = self._named[place]
        row["requests"] += requests
        row["tokens"] += tokens

    def _place(self, name: str) -> int:
        """The row of a name: its own, a new one, or the last where all are taken."""
        written, names = name.encode("utf-8", "replace")[: NAMED["name"].itemsize], self._named["name"]
        for place, before in enumerate(names[:-1].tolist()):
            if before in (b"", written):
                names[place] = written
                return place
        names[-1] = OTHERS.encode()
        return len(names) - 1

    def named(self) -> dict[str, tuple[float, float]]:
        """Return requests and tokens by name, summed over all processes."""
        found: dict[str, tuple[float, float]] = {}
        for _, rows in self._all():
            for name, requests, tokens in rows[rows["name"] != b""].tolist():
                text = name.decode("utf-8", "replace")
                before = found.get(text, (0.0, 0.0))
                found[text] = (before[0] + requests, before[1] + tokens)
        return found

"""Files that HTTP processes share and that whoever comes first makes: whole as soon as they are there, whoever is killed meanwhile."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from batching.files import create


def make_whole(path: Path, size: int, head: bytes = b"") -> None:
    """Make a file of `size` bytes that begins with `head` and is zero behind it; one that is there already is left as it is.

    It is made under another name first: a process that is killed at it must not leave half a file to its successors. Raises StartError
    when there is no room.
    """
    if path.exists():
        return
    making = path.with_name(f"making.{path.name}.{os.getpid()}")
    making.unlink(missing_ok=True)
    try:
        create(making, size)
        with making.open("r+b") as file:
            file.write(head)
        with contextlib.suppress(FileExistsError):  # somebody else was quicker, and may count in it already
            path.hardlink_to(making)
    finally:
        making.unlink(missing_ok=True)

"""Packed weights in memory that all workers of one queue share.

Packing, oneDNN's or ours, makes a copy per process. Equal weights pack to equal bytes, so the first worker writes them to a file in
the queue's directory, and every worker maps that file over its copy: private, so that nothing written reaches the others, and shared until
then, which is always. Where the C library, the space or the platform will not have it, every worker keeps its copy.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from batching.types import SHARED_WEIGHTS

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_FIXED = 0x10
_OWN_MAPPING = 1 << 16
_LARGE, _LARGER = 32 << 20, 64 << 20
"""What glibc's own thresholds grow to in a process that uses large tensors."""
_IS_MAPPED = 2
"""The bit in glibc's size word before a block that lies in a mapping of its own, not in the heap."""
_SMALLEST = 1 << 18
_FREE_SHARE = 0.5
"""A file may take this part of what is free,"""
_KEPT_SHARE = 0.125
"""and all together leave this part of the space: HTTP processes that start later have their files there, too."""


def packed(pack: Callable[[], Tensor]) -> Tensor:
    """What `pack` returns, a new tensor, in oneDNN's layout or dense, on shared pages where that is possible; then call `settle`."""
    place = os.environ.get(SHARED_WEIGHTS)
    libc = _c_library() if place else None
    if not place or libc is None:
        return pack()
    libc.mallopt(_MMAP_THRESHOLD, _OWN_MAPPING)  # a mapping of its own, so that freeing it gives back the file's pages as well
    weight = pack()
    start, size = _place(weight)
    if size >= _SMALLEST and ctypes.c_size_t.from_address(start - ctypes.sizeof(ctypes.c_size_t)).value & _IS_MAPPED:
        with contextlib.suppress(OSError):
            _map(libc, start, size, Path(place))
    return weight


def _place(weight: Tensor) -> tuple[int, int]:
    """Address and bytes."""
    if weight.is_mkldnn:
        return torch.ops.mkldnn.data_ptr(weight), torch.ops.mkldnn._nbytes(weight)
    return weight.data_ptr(), weight.nbytes


def settle() -> None:
    """The weights are packed: let the allocator keep large blocks for the forwards to come, and give back what loading left."""
    libc = _c_library() if os.environ.get(SHARED_WEIGHTS) else None
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, _LARGER)
        libc.malloc_trim(0)


def _map(libc: ctypes.CDLL, start: int, size: int, directory: Path) -> None:
    """Map the file with these bytes over the whole pages from `start` on but the first, where the allocator keeps its notes."""
    low = (start // mmap.PAGESIZE + 1) * mmap.PAGESIZE
    length = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE - low
    own = (ctypes.c_char * length).from_address(low)
    path = directory / hashlib.blake2b(own, digest_size=16).hexdigest()
    if not path.exists() and not _write(path, memoryview(own)):
        return
    with path.open("rb") as file:
        with mmap.mmap(file.fileno(), length, prot=mmap.PROT_READ) as found:
            if found[:] != own.raw:
                return
        where = libc.mmap(low, length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _FIXED, file.fileno(), 0)
    if where != low:
        raise OSError(ctypes.get_errno(), "mmap")


def _write(path: Path, data: memoryview) -> bool:
    """Write a file whole or not at all; False where it would take too much of the space."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    space = os.statvfs(path.parent)
    if not fits(data.nbytes, space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize):
        return False
    fresh = path.with_suffix(f".{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.chmod(0o400)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    return True


def fits(size: int, free: int, space: int) -> bool:
    """Whether a file of `size` bytes may take its part of the `free` bytes of a file system of `space` bytes."""
    return size <= free * _FREE_SHARE and free - size >= space * _KEPT_SHARE


def _c_library() -> ctypes.CDLL | None:
    """glibc on Linux with the functions needed, and a torch that tells where packed tensors lie; None elsewhere."""
    if sys.platform != "linux" or not hasattr(torch.ops.mkldnn, "data_ptr") or not hasattr(torch.ops.mkldnn, "_nbytes"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "gnu_get_libc_version"):
        return None
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    return libc

"""A first-fit allocator over a range of bytes. Pure bookkeeping: it never touches the bytes, and lives in its owner's memory only."""

from __future__ import annotations

from bisect import bisect_left

ALIGN = 64


def rounded(size: int) -> int:
    """`size` in bytes, rounded up to whole cache lines."""
    return max(ALIGN, (size + ALIGN - 1) // ALIGN * ALIGN)


class Heap:
    """Free spans of `[0, size)`, kept sorted and merged.

    Entries of one request are freed close together and mostly in order, so that a handful of spans is the rule and a list is enough.
    """

    def __init__(self, size: int) -> None:
        self._starts: list[int] = [0] if size else []
        self._ends: list[int] = [size] if size else []
        self.size = size
        self.free_bytes = size

    def __repr__(self) -> str:
        return f"Heap({self.size - self.free_bytes} of {self.size} bytes used, {len(self._starts)} free spans)"

    def take(self, size: int) -> int | None:
        """The offset of a new span of `size` bytes, rounded to cache lines; None when no span is large enough."""
        size = rounded(size)
        for place, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            if end - start >= size:
                self._cut(place, start, start + size, end)
                self.free_bytes -= size
                return start
        return None

    def take_at(self, offset: int, size: int) -> None:
        """Mark a span as used that an earlier owner had taken. Raises ValueError when it is not wholly free."""
        size = rounded(size)
        place = bisect_left(self._starts, offset + 1) - 1
        if place < 0 or self._ends[place] < offset + size or offset < 0:
            raise ValueError(f"[{offset}, {offset + size}) is not free")
        start, end = self._starts[place], self._ends[place]
        self._cut(place, offset, offset + size, end)
        if start < offset:
            self._starts.insert(place, start)
            self._ends.insert(place, offset)
        self.free_bytes -= size

    def _cut(self, place: int, taken_from: int, taken_to: int, end: int) -> None:
        """Leave of the free span at `place` only what lies behind the taken part."""
        if taken_to < end:
            self._starts[place] = taken_to
        else:
            del self._starts[place], self._ends[place]

    def give_back(self, offset: int, size: int) -> None:
        """Free a span that `take` gave. Raises ValueError when any of it is free already."""
        size = rounded(size)
        end = offset + size
        place = bisect_left(self._starts, offset)
        before = place > 0 and self._ends[place - 1] >= offset
        after = place < len(self._starts) and self._starts[place] <= end
        if offset < 0 or end > self.size or (before and self._ends[place - 1] > offset) or (after and self._starts[place] < end):
            raise ValueError(f"[{offset}, {end}) is not wholly in use")
        if before and after:
            self._ends[place - 1] = self._ends[place]
            del self._starts[place], self._ends[place]
        elif before:
            self._ends[place - 1] = end
        elif after:
            self._starts[place] = offset
        else:
            self._starts.insert(place, offset)
            self._ends.insert(place, end)
        self.free_bytes += size

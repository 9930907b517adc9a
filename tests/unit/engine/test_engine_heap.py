"""The heap of payloads against a map with one flag per cache line: no overlap, no loss, first fit."""

from __future__ import annotations

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from batching.heap import ALIGN, Heap, rounded

LINES = 24
SIZE = LINES * ALIGN
sizes = st.integers(0, SIZE + ALIGN)


class HeapAgainstMap(RuleBasedStateMachine):
    """Random takes and gives; the model is a list of booleans, one per cache line."""

    spans = Bundle("spans")

    def __init__(self) -> None:
        super().__init__()
        self.heap, self.used = Heap(SIZE), [False] * LINES

    def free_run(self, lines: int) -> int | None:
        """The first place where so many lines in a row are free."""
        return next((at for at in range(LINES - lines + 1) if not any(self.used[at : at + lines])), None)

    def mark(self, offset: int, size: int, used: bool) -> None:
        first, count = offset // ALIGN, rounded(size) // ALIGN
        self.used[first : first + count] = [used] * count

    @rule(target=spans, size=sizes)
    def take(self, size: int):
        """The first place where it fits, or None where the map has none either."""
        run = self.free_run(rounded(size) // ALIGN)
        offset = self.heap.take(size)
        assert offset == (None if run is None else run * ALIGN)
        if offset is None:
            return multiple()
        self.mark(offset, size, used=True)
        return (offset, size)

    @rule(target=spans, line=st.integers(0, LINES), size=sizes)
    def take_at(self, line: int, size: int):
        """A span that an earlier owner had: taken where it was, or refused without a change."""
        lines, free = rounded(size) // ALIGN, self.heap.free_bytes
        fits = line + lines <= LINES and not any(self.used[line : line + lines])
        if fits:
            self.heap.take_at(line * ALIGN, size)
            self.mark(line * ALIGN, size, used=True)
            return (line * ALIGN, size)
        with pytest.raises(ValueError, match="is not free"):
            self.heap.take_at(line * ALIGN, size)
        assert self.heap.free_bytes == free
        return multiple()

    @rule(span=consumes(spans))
    def give_back(self, span: tuple[int, int]) -> None:
        """What was taken can be given back once."""
        self.heap.give_back(*span)
        self.mark(*span, used=False)

    @rule(line=st.integers(-1, LINES), size=sizes)
    def give_back_what_is_free(self, line: int, size: int) -> None:
        """A span with a free line in it is refused without a change."""
        lines = rounded(size) // ALIGN
        inside = line >= 0 and line + lines <= LINES
        if inside and all(self.used[line : line + lines]):
            return
        before = repr(self.heap)
        with pytest.raises(ValueError, match="not wholly in use"):
            self.heap.give_back(line * ALIGN, size)
        assert repr(self.heap) == before

    @invariant()
    def counts_agree(self) -> None:
        """The free bytes are the map's."""
        note("".join("#" if used else "." for used in self.used))
        assert self.heap.free_bytes == self.used.count(False) * ALIGN


TestHeapAgainstMap = HeapAgainstMap.TestCase


@given(sizes)
def test_sizes_are_whole_cache_lines(size: int) -> None:
    """Rounding never loses a byte, adds less than a line, and gives at least one."""
    assert rounded(size) % ALIGN == 0
    assert size <= rounded(size) < max(size, 1) + ALIGN


@given(st.permutations(range(8)))
def test_freed_spans_merge_in_whatever_order(order: list[int]) -> None:
    """After everything was given back, the whole heap can be taken at once."""
    heap = Heap(8 * ALIGN)
    spans = [heap.take(ALIGN) for _ in range(8)]
    for place in order:
        heap.give_back(spans[place], ALIGN)
    assert heap.take(8 * ALIGN) == 0


def test_a_heap_of_nothing_gives_nothing() -> None:
    """Without bytes every take is refused and the counts are zero."""
    heap = Heap(0)
    assert heap.take(1) is None
    assert heap.free_bytes == 0

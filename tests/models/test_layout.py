"""A layout holds every asked-for sequence once, in a row without gaps, with positions and types of its own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batching.scoring.layout import NOWHERE, fill_up, lay_out, owners
from batching.types import Pack
from tests.models.packs import pack_of

ROWS = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7), min_size=1, max_size=12)


def whole(pack: Pack) -> np.ndarray:
    return np.arange(len(pack.lengths), dtype=np.int32)


@given(ROWS, st.booleans(), st.integers(0, 3))
def test_every_sequence_is_found_at_its_place(rows: list[list[int]], sort: bool, offset: int) -> None:
    """The tokens between a place's offsets are the sequence's own, positions count from the offset, in any order."""
    pack = pack_of(rows)
    layout = lay_out(pack, whole(pack), None, sort=sort, offset=offset, token_types=False)
    for number, row in enumerate(rows):
        begin, end = layout.offsets[layout.places[number]], layout.offsets[layout.places[number] + 1]
        assert layout.ids[begin:end].tolist() == row
        assert layout.positions[begin:end].tolist() == list(range(offset, offset + len(row)))
    assert sorted(layout.places.tolist()) == list(range(len(rows)))


@given(ROWS, st.booleans())
def test_runs_tile_the_row(rows: list[list[int]], sort: bool) -> None:
    """Runs follow each other without gap or overlap, and cover equal lengths only; sorted, no length comes twice."""
    pack = pack_of(rows)
    layout = lay_out(pack, whole(pack), None, sort=sort, offset=0, token_types=False)
    end, place = 0, 0
    for run in layout.runs:
        assert run.start == end
        assert layout.lengths[place : place + run.count].tolist() == [run.length] * run.count
        end, place = end + run.count * run.length, place + run.count
    assert (end, place) == (len(pack.ids), len(rows))
    if sort:
        assert len({run.length for run in layout.runs}) == len(layout.runs)


@given(ROWS, st.data())
def test_types_begin_at_the_split(rows: list[list[int]], data: st.DataObject) -> None:
    """Token types are 0 before a sequence's split and 1 from it on; a split of 0 means all zeros."""
    splits = [data.draw(st.integers(0, len(row))) for row in rows]
    pack = pack_of(rows, splits=splits)
    layout = lay_out(pack, whole(pack), None, sort=True, offset=0, token_types=True)
    assert layout.types is not None
    for number, (row, split) in enumerate(zip(rows, splits, strict=True)):
        begin = layout.offsets[layout.places[number]]
        expected = [int(split > 0 and place >= split) for place in range(len(row))]
        assert layout.types[begin : begin + len(row)].tolist() == expected


@given(st.lists(ROWS.filter(lambda rows: len(rows) > 1), min_size=1, max_size=4), st.booleans())
def test_a_shared_prefix_is_laid_out_once(requests: list[list[list[int]]], sort: bool) -> None:
    """Entries with equal prefixes lean on one of them, suffixes continue its positions, and only suffixes are scored."""
    pack = pack_of([row for rows in requests for row in rows], entries=[len(rows) for rows in requests], shared=True)
    own = owners(pack)
    firsts = {tuple(rows[0]) for rows in requests}
    used = np.unique(np.concatenate([own.scored, own.shared[own.shared != NOWHERE]]))
    assert len(used) - len(own.scored) == len(firsts)
    layout = lay_out(pack, used.astype(np.int32), own.shared, sort=sort, offset=0, token_types=False)
    assert layout.prefixes is not None
    number = 0
    for rows in requests:
        for row in rows[1:]:
            number += 1
            place = layout.places[number]
            prefix = layout.prefixes[place]
            assert layout.ids[layout.offsets[prefix] : layout.offsets[prefix + 1]].tolist() == rows[0]
            assert layout.positions[layout.offsets[place]] == len(rows[0])
            assert layout.lengths[place] == len(row)
        number += 1


@given(ROWS, st.integers(0, 9))
def test_rows_of_nobody_change_no_sequence(rows: list[list[int]], spare: int) -> None:
    """Filling up appends rows and moves nothing; the runs still tile the row."""
    pack = pack_of(rows, splits=[1] * len(rows))
    layout = lay_out(pack, whole(pack), None, sort=True, offset=2, token_types=True)
    filled = fill_up(layout, spare, 2)
    end = len(layout.ids)
    assert filled.types is not None
    assert layout.types is not None
    for ours, theirs in ((filled.ids, layout.ids), (filled.positions, layout.positions), (filled.types, layout.types)):
        assert ours[:end].tolist() == theirs.tolist()
        assert len(ours) == end + spare
    assert filled.places.tolist() == layout.places.tolist()
    assert sum(run.count * run.length for run in filled.runs) == len(filled.ids) == filled.offsets[-1]
    assert filled.positions[end:].tolist() == [2] * spare


@given(ROWS, st.booleans(), st.booleans(), st.integers(0, 3), st.data())
def test_positions_and_types_are_what_counting_gives(
    rows: list[list[int]], sort: bool, few: bool, offset: int, data: st.DataObject
) -> None:
    """Token by token; in the pack's own order the ids are not copied, else the pack stays as it was."""
    splits = [data.draw(st.integers(0, len(row))) for row in rows]
    pack = pack_of(rows, splits=splits)
    members = whole(pack)[few and len(rows) > 1 :]
    layout = lay_out(pack, members, None, sort=sort, offset=offset, token_types=True)
    for number in members.tolist():
        begin, end = layout.offsets[layout.places[number]], layout.offsets[layout.places[number] + 1]
        assert layout.types is not None
        split = splits[number]
        assert layout.types[begin:end].tolist() == [int(split > 0 and index >= split) for index in range(len(rows[number]))]
        assert layout.positions[begin:end].tolist() == [offset + index for index in range(len(rows[number]))]
    assert layout.positions.dtype == layout.types.dtype == layout.ids.dtype == np.int32
    if not sort and len(members) == len(rows):
        assert layout.ids is pack.ids

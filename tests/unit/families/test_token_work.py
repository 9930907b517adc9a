"""The interpreter does no work per token: the ids of long documents cost it as many steps as those of short ones."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from batching.cut import cut
from batching.families.encode import Encoded
from batching.owner import Owner, Stamp
from batching.queue_files import make_queue, queue_shape
from tests.unit.families.conftest import Shelf

COUNT, WORDS = 8, 50


def steps(call: Callable[[], object]) -> int:
    """Bytecode instructions that `call` takes, in all Python frames."""
    taken = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal taken
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        taken += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.collect()
    gc.disable()  # what others have it call, in the middle of this, would count
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return taken


def documents(words: int) -> list[str]:
    """Documents that all differ, of the same number of words."""
    return [" ".join(["capital"] * (words - 1) + [word]) for word in ("one", "two", "red", "cat", "dog", "sun", "sea", "sky")]


@pytest.mark.parametrize("name", ["bert", "xlm_roberta", "qwen3"])
def test_tokenizing_takes_no_step_per_token(shelf: Shelf, name: str) -> None:
    """From texts to the sequences of a request: many times the tokens, the same steps."""
    encoder = shelf.encoder(name)

    def encode(words: int) -> Encoded:
        return encoder.encode("what is it?", documents(words), max_length=4000)

    encode(3)
    assert encode(WORDS).sequences.tokens > encode(3).sequences.tokens + COUNT * (WORDS - 4)
    assert steps(lambda: encode(WORDS)) == steps(lambda: encode(3))


def test_putting_takes_no_step_per_token(tmp_path: Path, shelf: Shelf) -> None:
    """From there into the arena, where the very ids lie as they are."""
    make_queue(tmp_path / "q", queue_shape(workers=1, owners=1, limit_tokens=100_000, max_request_scores=100))
    owner: Owner[object] = Owner(tmp_path / "q", 0)

    def put(words: int) -> None:
        sequences = shelf.encoder("bert").encode("what is it?", documents(words), max_length=4000).sequences
        part = cut(sequences, 100_000)[0]
        taken.append(steps(lambda: rows.append(owner.put(part, Stamp(1e9, 0.0, 0, 1, b""), object()))))
        fields = owner.arena.row(rows[-1])
        at = fields.offset // 4 + 2 * fields.sequences + fields.scores
        assert np.array_equal(owner.arena.words[at : at + fields.tokens], sequences.ids)

    rows: list[Any] = []
    taken: list[int] = []
    for words in (3, 3, WORDS):
        put(words)
    owner.close()
    assert taken[1] == taken[2]

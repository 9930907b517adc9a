"""A little of `just fuzz` in every run."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import SHARES, run
from tests.fuzz.ask import Answered, Asker, check
from tests.fuzz.bodies import KINDS


@pytest.mark.parametrize("kind", SHARES)
def test_every_body_gets_an_answer(kind: str) -> None:
    """Whatever is sent: no 5xx, a readable body, an id and timings, nothing left reserved; and right calls among them are ranked."""
    asker = Asker()
    row = run(KINDS[kind], 150, asker, 1)
    asker.close()
    assert row.statuses.total() >= 150
    assert bool(row.statuses[200]) == kind.startswith(("a right", "fields"))


def test_a_wrong_answer_is_seen() -> None:
    """A 500, an answer without an id, and one that is no JSON are told."""
    headers = {"x-request-id": "1", "server-timing": "total;dur=1", "content-type": "application/json"}
    check(Answered(200, headers, b"[]", 0.0), packed=False)
    for wrong in (
        Answered(500, headers, b'{"detail": "x"}', 0.0),
        Answered(200, {**headers, "x-request-id": ""}, b"[]", 0.0),
        Answered(400, headers, b'{"reason": "x"}', 0.0),
    ):
        with pytest.raises(AssertionError):
            check(wrong, packed=False)

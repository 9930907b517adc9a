"""The map from exceptions to what callers are told."""

from __future__ import annotations

import inspect

import pytest

from batching import errors
from service.failures import REASONS, STATUSES, explain, refuse

FOR_CALLERS = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, errors.RerankdError) and not issubclass(found, errors.StartError) and found is not errors.RerankdError
]


@pytest.mark.parametrize("kind", FOR_CALLERS)
def test_every_exception_for_callers_has_an_entry_of_its_own(kind: type[errors.RerankdError]) -> None:
    """No exception of the tree falls through to the unforeseen, and its text is told."""
    failure = explain(kind("why"))
    assert failure.message == "why"
    assert failure.reason != "internal"
    assert failure.reason in REASONS
    assert failure.status in STATUSES


def test_children_are_not_taken_for_their_parents() -> None:
    """TooLarge is not a plain InvalidRequest, RateLimited not a full queue."""
    assert explain(errors.TooLarge("x", "documents")).status == 413
    assert explain(errors.RateLimited("x")).reason == "rate_limited"
    assert len({explain(kind("x")).reason for kind in FOR_CALLERS}) == len(FOR_CALLERS)


def test_only_the_callers_mistakes_are_4xx() -> None:
    """Nothing that is our fault blames the caller, nothing that is theirs blames us."""
    blamed = {kind for kind in FOR_CALLERS if explain(kind("x")).status < 500}
    ours = {errors.Unavailable, errors.Expired, errors.WorkerLost, errors.ScoringFailed}
    assert blamed.isdisjoint(ours)
    assert blamed | ours == set(FOR_CALLERS)


def test_an_unforeseen_error_is_not_told() -> None:
    """Its text may hold anything."""
    failure = explain(ValueError("secret"))
    assert (failure.status, failure.reason) == (500, "internal")
    assert "secret" not in failure.message


def test_headers_say_when_to_come_back() -> None:
    """Retry-After is whole seconds, at least one, and only where waiting helps."""
    assert explain(errors.Overloaded("x", 0.01)).headers == {"retry-after": "1"}
    assert explain(errors.Unavailable("x", 2.1)).headers == {"retry-after": "3"}
    assert explain(errors.Unauthorized("x")).headers["www-authenticate"].startswith("Bearer")
    assert explain(errors.Expired("x")).headers == {}
    assert refuse(405, "x").status == 405

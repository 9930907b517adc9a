"""The token cache: right, bounded, and of use."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.token_cache import ENTRY_BYTES, LARGEST_SHARE, TokenCache

STEPS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 300), st.booleans()), max_size=80)


@given(STEPS, st.sampled_from([0, 1_000, 50_000, 200_000]))
def test_what_is_found_is_what_was_put_last_and_the_bound_holds(steps: list[tuple[str, int, bool]], most: int) -> None:
    """What fits is found at once, a hit is never stale or another text's, and the bytes never pass the bound."""
    cache, truth = TokenCache(most), {}
    for number, (text, length, complete) in enumerate(steps):
        found = cache.get(text)
        if found is not None:
            assert found[0].tolist() == truth[text][0].tolist()
            assert found[1] == truth[text][1]
        ids = np.full(length, number, np.int32)
        cache.put(text, ids, complete)
        if ids.nbytes + ENTRY_BYTES <= most // LARGEST_SHARE:
            truth[text] = (ids, complete)
            assert cache.get(text) is not None
        assert cache.used_bytes <= most


def test_what_is_used_stays() -> None:
    """A document asked for again and again outlives any number that are not."""
    cache = TokenCache(1 << 20)
    cache.put("favourite", np.arange(100, dtype=np.int32), True)
    for number in range(20_000):
        cache.put(f"passing {number}", np.arange(100, dtype=np.int32), True)
        assert cache.get("favourite") is not None
    assert cache.get("passing 0") is None


def test_the_bound_is_that_of_real_memory() -> None:
    """What Python really allocates is no more than the setting says, within a tenth."""
    most = 8 << 20
    gc.collect()
    tracemalloc.start()
    cache = TokenCache(most)
    for number in range(60_000):
        cache.put(f"document {number}", np.arange(60, dtype=np.int32), True)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(repr(cache)) > 0
    assert held < most * 1.1

"""Windows over long documents, and ranking: pure parts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from batching.errors import InvalidRequest, TooLarge
from batching.families.base import Family, Piece
from batching.families.detect import detect
from batching.families.encode import Encoder
from service.model_files import starter
from service.models import Model
from service.ranking import order, plan, prepare
from service.schemas import RerankRequest
from service.settings import Settings
from service.tokens import estimate, unrepeat
from service.windows import MOST_SHARE, best, split, token_spans, window_count
from tests import checkpoints
from tests.http.fakes import FakeEncoder

ANY = 1 << 30


@given(st.integers(0, 3000), st.integers(1, 600), st.none() | st.integers(0, 700))
def test_windows_cover_every_token_and_go_forward(tokens: int, room: int, overlap: int | None) -> None:
    """No token is left out, no window is over the room, each begins behind the one before and reaches it or overlaps as asked."""
    spans = list(token_spans(tokens, room, overlap))
    assert len(spans) == window_count(tokens, room, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == tokens
    for first, last in spans:
        assert 0 <= first <= last <= tokens
        assert last - first <= room
    for (first, last), (next_first, next_last) in itertools.pairwise(spans):
        assert first < next_first <= last
        assert last < next_last
        assert last - next_first >= min(overlap if overlap is not None else 0, room - 1)


@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=6),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 80),
)
def test_split_keeps_every_word_or_says_that_it_cut(lengths: list[int], overlap: int | None, most: int | None, cap: int | None) -> None:
    """Every word of a document stands in one of its windows unless `cut` says otherwise, and windows are in document order."""
    documents = [" ".join(f"w{number}" for number in range(length)) for length in lengths]
    request = RerankRequest(query="q", documents=documents, chunk_overlap=overlap, max_chunks=most, max_tokens_per_doc=cap)
    windows = split(FakeEncoder(), request, documents, 32, ANY)  # type: ignore[arg-type]
    assert windows.owner.tolist() == sorted(windows.owner.tolist())
    assert windows.encoded.sequences.scores == len(windows.owner) == len(windows.spans)
    for index, document in enumerate(documents):
        parts = [document[first:last] for (first, last), owner in zip(windows.spans, windows.owner, strict=True) if owner == index]
        seen = {word for part in parts for word in part.split()}
        assert windows.cut[index] == (seen != set(document.split()))
        assert len(parts) <= (most or len(parts))


@given(hnp.arrays(np.float32, st.integers(1, 30), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0, np.nan])), st.data())
def test_the_best_window_counts(raw: np.ndarray, data: st.DataObject) -> None:
    """A document's score is the best of its windows; NaN only where all are."""
    owner = np.sort(np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(raw), max_size=len(raw))), np.intp))
    owner = np.unique(owner, return_inverse=True)[1]
    count = int(owner[-1]) + 1
    spans = [(place, place + 1) for place in range(len(raw))]
    encoded = FakeEncoder().encode("q", ["w"] * len(raw))
    from service.windows import Windows

    chosen = best(Windows(encoded, owner, spans, np.zeros(count, np.bool_)), raw)
    for index in range(count):
        mine = raw[owner == index]
        expected = np.nanmax(mine) if np.isfinite(mine).any() else np.nan
        assert chosen.raw[index] == expected or (np.isnan(expected) and np.isnan(chosen.raw[index]))
        window = chosen.windows[index]
        assert (window is None) == (len(mine) == 1)
        if window is not None and not np.isnan(expected):
            assert raw[window.start] == expected
    assert chosen.pair_tokens.sum() == encoded.pair_tokens.sum()


@given(hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)), st.none() | st.integers(0, 60))
def test_order_is_best_first_ties_by_index_without_failures(raw: np.ndarray, top_n: int | None) -> None:
    """The order is that of a stable sort by descending raw score over the finite ones, cut at top_n."""
    expected = sorted((index for index in range(len(raw)) if np.isfinite(raw[index])), key=lambda index: (-float(raw[index]), index))
    assert order(raw, top_n) == expected[: top_n or None]


@given(st.lists(st.text(max_size=2), max_size=20))
def test_unrepeat_can_be_undone(documents: list[str]) -> None:
    """Every different text once, and the way back."""
    once, spots = unrepeat(documents)
    assert len(set(once)) == len(once)
    assert (once if spots is None else [once[spot] for spot in spots]) == documents


@given(
    st.text(max_size=50),
    st.lists(st.text(max_size=2000), min_size=1, max_size=5),
    st.integers(8, 512),
    st.sampled_from(["pair", "embedding"]),
)
def test_an_estimate_grows_with_text_and_never_passes_the_limit(query: str, documents: list[str], limit: int, unit: str) -> None:
    """What is reserved is at least something per document, and never more than the limit per sequence."""
    family = Family(name="x", layout=(Piece(text="{document}"),), unit=unit)  # type: ignore[arg-type]
    tokens = estimate(query, documents, family, limit)
    assert len(documents) <= tokens <= limit * (len(documents) + (unit == "embedding"))
    assert estimate(query, [document + " more" for document in documents], family, limit) >= tokens


def test_windows_of_a_real_tokenizer_leave_no_word_out() -> None:
    """With a real tokenizer, accents, other scripts and no blanks at all, the windows' texts cover the document in order."""
    encoder = Encoder(detect(starter(), "starter"))
    texts = ["Zoë's café ☕ 東京タワー " * 60, "x" * 3000, "one short line", "word " * 400]
    request = RerankRequest(query="what is in Tokyo?", documents=texts)
    windows = split(encoder, request, texts, 64, ANY)
    assert not windows.cut.any()
    assert int(windows.encoded.sequences.lengths.max()) <= 64
    for index, text in enumerate(texts):
        spans = [span for span, owner in zip(windows.spans, windows.owner, strict=True) if owner == index]
        covered = 0
        for first, last in spans:
            assert not text[covered:first].strip() if first > covered else True
            covered = max(covered, last)
        assert not text[covered:].strip()


@pytest.mark.parametrize("sent", ["chunk_overlap", "overlap_tokens"])
def test_an_overlap_leaves_half_a_window(sent: str) -> None:
    """What is over is refused by the name it came by, before the windows are made; half is taken, and so is any where all documents fit."""
    encoder, long = FakeEncoder(), [" ".join(["w"] * 500)]
    request = RerankRequest(query="q", documents=long, chunk_overlap=16, sent={} if sent == "chunk_overlap" else {"chunk_overlap": sent})
    with pytest.raises(InvalidRequest, match=rf"^{sent}: 16 is over the limit of 15 tokens, half of the 30 .*who set 32") as caught:
        split(encoder, request, long, 32, ANY)  # type: ignore[arg-type]
    assert caught.value.field == sent
    assert split(encoder, request, ["short"], 32, ANY).encoded.sequences.scores == 1  # type: ignore[arg-type]
    half = RerankRequest(query="q", documents=long, chunk_overlap=30 // MOST_SHARE)
    assert split(encoder, half, long, 32, ANY).encoded.sequences.scores == window_count(500, 30, 15)  # type: ignore[arg-type]


def test_windows_that_the_queue_never_holds_are_not_made() -> None:
    """They are counted first, query and all: one token too many is TooLarge, and no text of a window was tokenized."""
    encoder, long = FakeEncoder(), [" ".join(["w"] * 500)]
    request = RerankRequest(query="q", documents=long)
    tokens = split(encoder, request, long, 32, ANY).encoded.sequences.tokens  # type: ignore[arg-type]
    assert split(encoder, request, long, 32, tokens).encoded.sequences.tokens == tokens  # type: ignore[arg-type]
    made = len(encoder.calls)
    with pytest.raises(TooLarge, match="RERANKER_QUEUE_TOKENS"):
        split(encoder, request, long, 32, tokens - 1)  # type: ignore[arg-type]
    assert all(len(call["documents"]) <= 2 for call in encoder.calls[made:])  # type: ignore[arg-type]


def test_text_without_a_token(tmp_path: Path) -> None:
    """Where the tokenizer puts nothing around a text, an empty document is refused by its name, in windows too."""
    card = detect(checkpoints.decoder_bi_encoder(tmp_path / "m"), "m")
    model = Model(card, Encoder(card), 64)
    for long in ("truncate", "chunk"):
        request = RerankRequest(query="fox", documents=["fox " * 200, "", "fox"], long=long)
        with pytest.raises(InvalidRequest, match=r"^documents\[1\]: is empty"):
            prepare(plan(request, model, Settings()))
        kept = RerankRequest(query="fox", documents=["fox " * 200, "fox"], long=long)
        assert prepare(plan(kept, model, Settings())).encoded.sequences.lengths.all()

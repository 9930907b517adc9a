"""What a request is reckoned to cost before it is tokenized: never grossly more than it is, whatever it is made of."""

from __future__ import annotations

from typing import Any

import pytest

from batching.families.card import ModelCard
from batching.families.detect import detect
from batching.families.encode import Encoder
from service.model_files import starter
from service.models import Model
from service.ranking import plan, prepare
from service.schemas import RerankRequest
from service.settings import Settings
from service.tokens import SPECIALS
from tests.http.fakes import FAMILY, card

SETTINGS = Settings()


def _estimate(fake: ModelCard, **values: Any) -> int:
    model = Model(fake, None, 128)  # type: ignore[arg-type]  # only the card is asked
    return plan(RerankRequest(query="q" * 40, **values), model, SETTINGS).estimated_tokens


def test_no_limit_is_passed() -> None:
    """Length, tokens per document and windows per document each bound it."""
    fake, long = card(family=FAMILY), ["x" * 100_000]
    assert _estimate(fake, documents=long) == 128
    assert _estimate(fake, documents=long, max_length=50) == 50
    assert _estimate(fake, documents=long, max_tokens_per_doc=20) == 10 + 20 + SPECIALS
    assert _estimate(fake, documents=long, long="chunk", max_chunks=3) == 3 * 128
    assert _estimate(fake, documents=long, long="chunk", max_tokens_per_doc=100) == 10 + 100 + SPECIALS
    assert _estimate(fake, documents=long * 5) == 128  # scored once


@pytest.mark.parametrize(("overlap", "windows"), [(0, 228), (55, 454), (None, 258), (10**9, 454)])
def test_windows_are_reckoned_with_what_they_share(overlap: int | None, windows: int) -> None:
    """Of 128 tokens each, 10 for the query, 8 around; an overlap counts at most at half of the rest, for a larger one is refused."""
    assert _estimate(card(family=FAMILY), documents=["x" * 100_000], long="chunk", chunk_overlap=overlap) == windows * 128


def test_other_scripts_are_not_reckoned_by_their_bytes() -> None:
    """As many letters, as many tokens: Cyrillic and Devanagari are two and three bytes each, yet no more tokens for it."""
    fake = card(family=FAMILY)
    assert _estimate(fake, documents=["щ" * 100]) == _estimate(fake, documents=["w" * 100])


STARTER = detect(starter(), "starter")
MODEL = Model(STARTER, Encoder(STARTER), STARTER.max_length)


TEXTS = {
    "English": "The quick brown fox jumps over the lazy dog, and nobody in the village has ever said a word about it. ",
    "German": "Die Donaudampfschifffahrtsgesellschaft hält ihre Hauptversammlung in diesem Jahr im großen Saal ab. ",
    "Russian": "Быстрая коричневая лиса перепрыгивает через ленивую собаку, и никто в деревне об этом не говорит. ",  # noqa: RUF001
    "Hindi": "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर से कूद जाती है और गाँव में कोई कुछ नहीं कहता। ",
    "Chinese": "敏捷的棕色狐狸跳过了懒狗，村里没有人对此说过一句话。",  # noqa: RUF001
    "code": "for (int i = 0; i < n; ++i) { total += values[i] * weights[i]; }\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_is_not_reckoned_at_more_than_it_is(text: str) -> None:
    """With the starter's tokenizer, in many scripts: at most a quarter more than its tokens, so that no deadline is refused for nothing."""
    found = plan(RerankRequest(query="what does the fox do", documents=[text * 8, text * 12]), MODEL, SETTINGS)
    assert found.estimated_tokens <= 1.25 * prepare(found).encoded.sequences.tokens


@pytest.mark.parametrize("overlap", [None, 0, 40])
def test_windows_are_not_reckoned_at_more_than_they_are(overlap: int | None) -> None:
    """With the starter's tokenizer: at most a quarter more than the tokens of all windows."""
    request = RerankRequest(
        query="what does the fox do", documents=[TEXTS["English"] * 60], long="chunk", chunk_overlap=overlap, max_length=128
    )
    found = plan(request, MODEL, SETTINGS)
    tokens = prepare(found).encoded.sequences.tokens
    assert 0.5 * tokens <= found.estimated_tokens <= 1.25 * tokens

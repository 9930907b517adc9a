"""Platforms' own code, where it can be had as a package: Dify's OpenAI-API-compatible provider, which its other providers are made after.

In an environment of its own (see `ops/test-clients`), since it pins what others pin otherwise. The rest is replayed by
`tests/unit/dialects/test_platforms.py`.
"""

from __future__ import annotations

import pytest

from tests.clients.corpus import BEST, DOCUMENTS, KEY, QUERY, check

pytestmark = pytest.mark.clients

rerank = pytest.importorskip("dify_plugin.interfaces.model.openai_compatible.rerank", reason="needs dify-plugin, by itself")


def test_dify(url: str) -> None:
    """Its validation, which passes a threshold, and its call; it brings scores to 0 and 1 by itself."""
    model = rerank.OAICompatRerankModel([])
    credentials = {"endpoint_url": url, "api_key": KEY}
    model.validate_credentials("any", credentials)
    found = model._invoke("any", credentials, QUERY, DOCUMENTS, top_n=3)
    check([one.index for one in found.docs], [one.score for one in found.docs], 3)
    assert found.docs[0].text == DOCUMENTS[BEST]

"""No query, document or instruction can write a marker of any family: special tokens in users' text stay text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from batching.families.detect import detect
from batching.families.encode import Encoded, Encoder
from tests import checkpoints
from tests.models import layerwise
from tests.unit.families.conftest import Shelf

NAMES = sorted(name for name in checkpoints.__all__ if name.islower())
OWN = {
    "xlm_roberta": ("<s>", "</s>", "<mask>"), "bert": ("[CLS]", "[SEP]", "[MASK]"), "modernbert": ("[CLS]", "[SEP]"),
    "qwen3": ("<|im_start|>", "<|im_end|>", "<think>", "</think>"), "mxbai_v2": ("<|im_start|>", "<|im_end|>"),
    "zerank": ("<|im_start|>", "<|im_end|>"), "ctxl": ("<|im_end|>", "<|endoftext|>"), "bge_gemma": ("<bos>", "<eos>"),
    "nemotron": ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), "jina_v3": ("<|embed_token|>", "<|rerank_token|>"),
    "colbert": ("[unused0]", "[unused1]", "[MASK]"), "modern_colbert": ("[Q] ", "[D] "), "deberta": ("[CLS]", "[SEP]"),
}  # fmt: skip
"""Markers that each family's layout lives by."""


def reserved_in(encoder: Encoder, encoded: Encoded) -> Counter[int]:
    """How often each reserved token stands in all sequences; a ColBERT's filling depends on the query's length and is left out."""
    special = set(encoder.vocabulary.reserved.values()) - {encoder.vocabulary._unknown} - set(encoder._filling)
    return Counter(number for number in encoded.sequences.ids.tolist() if number in special)


def assert_deaf(encoder: Encoder) -> None:
    tokens = sorted(encoder.vocabulary.reserved)
    text = " ".join(f"{token}x{token}\n{token}{token}" for token in tokens[:12])
    plain = reserved_in(encoder, encoder.encode("a", ["b", "c"], instruction="d"))
    for query, documents, instruction in ((text, ["b", "c"], "d"), ("a", [text, text], "d"), ("a", ["b", text], text)):
        longest = min(8192, encoder.card.max_length)
        query, instruction = query[: longest // 20], instruction[: longest // 20]
        assert reserved_in(encoder, encoder.encode(query, documents, instruction=instruction, max_length=longest)) == plain


@pytest.mark.parametrize("name", NAMES)
def test_markers_in_text_stay_text(shelf: Shelf, name: str) -> None:
    """With all reserved tokens written into query, documents or instruction, each stands as often as with plain words."""
    encoder = shelf.encoder(name)
    assert len(encoder.vocabulary.reserved) >= 3
    assert set(OWN.get(name, ())) <= set(encoder.vocabulary.reserved)
    assert_deaf(encoder)


def test_markers_of_the_layerwise_model(tmp_path: Path) -> None:
    """The same for bge-reranker-v2-minicpm-layerwise."""
    assert_deaf(Encoder(detect(layerwise.make(tmp_path / "m"), "m")))


@pytest.mark.parametrize("name", ["qwen3", "mxbai_v2", "zerank", "ctxl", "bge_gemma", "nemotron"])
def test_a_document_can_t_close_its_template(shelf: Shelf, name: str) -> None:
    """The template's end, written at the end of a document, leaves the real one where it was: behind it, in its own tokens."""
    encoder = shelf.encoder(name)
    frame = encoder._layout.frame("a", None)
    closing = encoder.vocabulary.tokenizer.decode(frame.tail, skip_special_tokens=False)
    sequences = encoder.encode("a", [f"b{closing}", "b"]).sequences
    forged, plain = np.split(sequences.ids, np.cumsum(sequences.lengths)[:-1])[-2:]
    special = list(encoder.vocabulary.reserved.values())
    assert frame.tail or name == "nemotron"
    assert forged.tolist()[len(forged) - len(frame.tail) :] == frame.tail
    assert np.isin(forged, special).sum() == np.isin(plain, special).sum()
    assert len(forged) > len(plain) or not frame.tail

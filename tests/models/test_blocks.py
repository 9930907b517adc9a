"""A listwise request of more documents than one prompt takes is ranked in blocks whose scores can be compared, as the reference does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3Model

from tests.checkpoints import QUERY, SENTENCES
from tests.models import prompts
from tests.models.cases import DRIFT, FLOAT32, directory_of, encoded, encoder_of, scorer_of
from tests.models.decoders import tokenizer_of
from tests.models.packs import scores
from tests.models.references import Raw

MANY = tuple(f"{SENTENCES[number % len(SENTENCES)].split()[0]} {number}" for number in range(255))


def blocks_of(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str], longest: int, most: int) -> list[list[str]]:
    """The loop of JinaForRanking.rerank over lengths and capacity."""

    def length(text: str, limit: int) -> int:
        return len(tokenizer(text, truncation=True, max_length=limit).input_ids)

    blocks, block, capacity = [], [], longest - 2 * length(query, 512)
    for document in documents:
        block.append(document)
        capacity -= length(document, most)
        if len(block) >= 125 or capacity <= most:
            blocks.append(block)
            block, capacity = [], longest - 2 * length(query, 512)
    return blocks + ([block] if block else [])


def rerank(directory: Path, query: str, blocks: Sequence[Sequence[str]]) -> tuple[Raw, Raw]:
    """The rest of it: block by block, query vectors averaged by each block's best score, then cosines of all documents; and the blocks' own."""
    tokenizer, tensors = tokenizer_of(directory), load_file(directory / "model.safetensors")
    model = Qwen3Model(Qwen3Config.from_pretrained(directory, attn_implementation="eager")).eval()
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")})
    document, asked = (tokenizer.convert_tokens_to_ids(token) for token in ("<|embed_token|>", "<|rerank_token|>"))
    found, queries, alone = [], [], []
    for block in blocks:
        (row,) = prompts.jina_v3(tokenizer, query, block)
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([row])).last_hidden_state[0]
            vectors = torch.relu(hidden @ tensors["projector.0.weight"].T) @ tensors["projector.2.weight"].T
        places = torch.tensor(row)
        own, query_vector = vectors[places == document], vectors[places == asked]
        alone.append(torch.cosine_similarity(own, query_vector, dim=-1).numpy())
        queries.append(query_vector[0].numpy())
        found.append(own.numpy())
    weights = [((1.0 + scores) / 2.0).max() for scores in alone]
    documents, mean = np.concatenate(found), np.average(np.array(queries), axis=0, weights=weights)
    return documents @ mean / (np.linalg.norm(mean) * np.linalg.norm(documents, axis=1)), np.concatenate(alone)


def test_more_documents_than_a_prompt_takes() -> None:
    """255 documents are three blocks, and every score is the reference's."""
    directory = directory_of("jina-v3")
    blocks = blocks_of(tokenizer_of(directory), QUERY, MANY, 131_072, 2048)
    assert [len(block) for block in blocks] == [125, 125, 5]
    want, alone = rerank(directory, QUERY, blocks)
    got = scores(scorer_of("jina-v3"), encoded("jina-v3", QUERY, MANY))
    np.testing.assert_allclose(got, want, atol=FLOAT32, rtol=0)
    assert np.abs(alone - want).max() > 100 * FLOAT32, "blocks on their own score otherwise"


def test_blocks_of_one_request_do_not_touch_another() -> None:
    """Two requests in one batch, one of them in blocks, score as they do alone."""
    scorer, many, few = scorer_of("jina-v3"), encoded("jina-v3", QUERY, MANY[:130]), encoded("jina-v3", "who walked?", MANY[:4])
    together = scores(scorer, few, many, few)
    parts = [scores(scorer, part) for part in (few, many, few)]
    np.testing.assert_allclose(together, np.concatenate(parts), atol=DRIFT, rtol=0)


@pytest.mark.parametrize(("longest", "kept"), [(1400, 50), (1000, 30), (900, 200)])
def test_blocks_are_the_reference_s(longest: int, kept: int) -> None:
    """Where the model's length and not the number fills a block, blocks end where the reference ends them."""
    documents = [" ".join(SENTENCES[: number % 5]) for number in range(60)]
    wanted = [len(block) for block in blocks_of(tokenizer_of(directory_of("jina-v3")), QUERY, documents, longest, kept)]
    layout = encoder_of("jina-v3")._list
    assert layout is not None
    ours = layout._blocks(QUERY, documents, kept, longest)
    assert [last - first for first, last in ours] == wanted
    assert [first for first, _ in ours] == [0, *(last for _, last in ours)][:-1]
    assert len(wanted) > 1

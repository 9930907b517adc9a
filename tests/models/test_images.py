"""Image documents score as nvidia's published forward does on padded input, whatever stands beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, SiglipVisionConfig, SiglipVisionModel

from batching.errors import InvalidRequest, UnsupportedModel
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.halve import halves
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.tiles import Pixels, Tiles, join
from batching.types import Float32s, Pack, Sequences
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY, SENTENCES
from tests.models.cases import DRIFT, FLOAT32, directory_of, encoder_of, scale, scorer_of
from tests.models.decoders import left_padded, tokenizer_of
from tests.models.packs import joined, scores

NAME = "nemotron vl text"
SIDE, EACH = 32, 16
TEXTS = ("", DOCUMENTS[0], SENTENCES[1], "", DOCUMENTS[1], "<img><IMG_CONTEXT></img> a document that plays image", SENTENCES[2])
COUNTS = (1, 0, 7, 3, 1, 0, 2)
"""Tiles of each document's image; 0: it has none."""


def picture(count: int, seed: int) -> Pixels:
    """Tiles of noise, bright and dark by turns."""
    dice = np.random.default_rng(seed)
    return dice.integers(0, 256, (count, SIDE * SIDE * 3), np.uint8) // dice.integers(1, 4, (count, 1), np.uint8)


PICTURES: tuple[Pixels | None, ...] = tuple(picture(count, seed) if count else None for seed, count in enumerate(COUNTS))


def reference_ids(texts: Sequence[str], pictures: Sequence[Pixels | None]) -> list[list[int]]:
    """The published prompt through Hugging Face's tokenizer; an image's marks stand before a blank and the text's own template.

    Marks in a text itself are plain text, which the published processor does not hold to; see the program's rule for special tokens.
    """
    tokenizer = tokenizer_of(directory_of(NAME))
    rows = []
    for text, image in zip(texts, pictures, strict=True):
        marks = "" if image is None else "<img>" + "<IMG_CONTEXT>" * (EACH * len(image)) + "</img> "
        head = tokenizer(f"{marks}question:{QUERY} \n \n passage:").input_ids
        rows.append(head + tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
    return rows


@cache
def reference_parts() -> tuple[LlamaModel, SiglipVisionModel, nn.Sequential, Tensor]:
    """Language model, tower, projector and score row, each from the checkpoint's tensors by their published names."""
    directory = directory_of(NAME)
    raw, tensors = json.loads((directory / "config.json").read_text("utf-8")), load_file(directory / "model.safetensors")

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}

    fields = {key: value for key, value in raw["llm_config"].items() if key not in ("model_type", "architectures", "auto_map")}
    language = LlamaModel(LlamaConfig(**fields, attn_implementation="eager", is_causal=False)).eval()
    language.load_state_dict(under("model.language_model."))
    tower = SiglipVisionModel(SiglipVisionConfig(**raw["vision_config"], attn_implementation="eager")).eval()
    tower.load_state_dict(under("model.vision_model.vision_model."))
    width, hidden = 4 * raw["vision_config"]["hidden_size"], raw["llm_config"]["hidden_size"]
    projector = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
    projector.load_state_dict(under("model.mlp1."))
    return language, tower, projector, tensors["score.weight"].float()


def reference_rows(image: Pixels) -> Tensor:
    """What stands for an image in the language model: [tiles * EACH, H]."""
    _, tower, projector, _ = reference_parts()
    pixels = torch.from_numpy(image.reshape(-1, SIDE, SIDE, 3)).permute(0, 3, 1, 2).to(torch.float32).div(255)
    pixels = pixels.sub(0.5).div(0.5).to(torch.bfloat16).float()
    patches = tower(pixel_values=pixels).last_hidden_state
    size = int(patches.shape[1] ** 0.5)
    squares = [
        torch.stack([
            torch.cat([tile[row * size + column], tile[row * size + column + 1], tile[(row + 1) * size + column], tile[(row + 1) * size + column + 1]])
            for row in range(0, size, 2) for column in range(0, size, 2)
        ])
        for tile in patches
    ]  # fmt: skip
    return torch.cat([projector(one) for one in squares])


def reference(texts: Sequence[str], pictures: Sequence[Pixels | None]) -> NDArray[np.float32]:
    """Raw scores of documents on left-padded input."""
    language, _, _, weight = reference_parts()
    rows = reference_ids(texts, pictures)
    token = tokenizer_of(directory_of(NAME)).convert_tokens_to_ids("<IMG_CONTEXT>")
    ids, mask, positions = left_padded(rows)
    with torch.inference_mode():
        embeds = language.get_input_embeddings()(ids).clone()
        for number, image in enumerate(pictures):
            if image is not None:
                embeds[number, ids[number] == token] = reference_rows(image)
        hidden = language(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return (pooled @ weight.T)[:, 0].numpy()


@cache
def request() -> Sequences:
    """All documents, images and text, as the program's encoder lays them out."""
    return encoder_of(NAME).encode(QUERY, TEXTS, images=PICTURES).sequences


def some(places: Sequence[int]) -> Sequences:
    """Some of the documents, in this order."""
    return encoder_of(NAME).encode(QUERY, [TEXTS[place] for place in places], images=[PICTURES[place] for place in places]).sequences


def pack_of(*requests: Sequences) -> Pack:
    """Several requests as one batch, with their tiles."""
    plain = joined(requests)
    tiles = join([(len(one.lengths), one.tiles) for one in requests])
    return Pack(plain.ids, plain.lengths, plain.splits, plain.entry_sequences, plain.entry_scores, plain.entry_shared, tiles)


def scored(*requests: Sequences) -> Float32s:
    return scorer_of(NAME).launch(pack_of(*requests))()


def test_ids_equal_the_published_prompt() -> None:
    """Documents with an image and without become exactly the ids of Hugging Face's tokenizer on the published prompt."""
    want = reference_ids(TEXTS, PICTURES)
    found = request()
    assert [row.tolist() for row in np.split(found.ids, np.cumsum(found.lengths)[:-1])] == want
    assert found.tiles is not None
    assert found.tiles.counts.tolist() == list(COUNTS)


def test_float32_equals_the_reference() -> None:
    """Raw scores are within 1e-5 of the reference's, images and text in one batch."""
    want = reference(TEXTS, PICTURES)
    np.testing.assert_allclose(scored(request()), want, atol=FLOAT32 * scale(want), rtol=0)
    assert np.ptp(want) > 0.1, "the reference tells these documents apart"


def test_pixels_matter_and_so_does_their_order() -> None:
    """The same document scores otherwise with other tiles, and with its own in another order."""
    image = picture(3, 2)
    texts, pictures = [""] * 3, [image, image[::-1].copy(), picture(3, 9)]
    found = scored(encoder_of(NAME).encode(QUERY, texts, images=pictures).sequences)
    want = reference(texts, pictures)
    np.testing.assert_allclose(found, want, atol=FLOAT32 * scale(want), rtol=0)
    assert len(set(np.round(found, 4).tolist())) == 3


def test_company_and_order_do_not_matter() -> None:
    """An image alone, in any order and beside other requests scores the same within the stated drift."""
    whole = scored(request())
    drift = DRIFT * scale(whole)
    order = np.random.default_rng(3).permutation(len(TEXTS)).tolist()
    np.testing.assert_allclose(scored(some(order)), whole[order], atol=drift, rtol=0)
    for place in range(len(TEXTS)):
        np.testing.assert_allclose(scored(some([place])), whole[[place]], atol=drift, rtol=0)
    other = encoder_of(NAME).encode("who walked on the moon?", SENTENCES[3:9]).sequences
    beside = scored(other, some(order[:3]), other, some(order[3:]))
    lone = scores(scorer_of(NAME), other)
    np.testing.assert_allclose(beside, np.concatenate([lone, whole[order[:3]], lone, whole[order[3:]]]), atol=drift, rtol=0)
    first, second = halves(pack_of(request())) or (None, None)
    assert first is not None
    assert second is not None
    apart = [scorer_of(NAME).launch(one)() for one in (first, second)]
    np.testing.assert_allclose(np.concatenate(apart), whole, atol=drift, rtol=0)


def test_bfloat16_keeps_order() -> None:
    """In bfloat16 scores stay near and documents that lie apart keep their order."""
    want = reference(TEXTS, PICTURES)
    bound = 0.08 * float(np.ptp(want))
    got = scorer_of(NAME, dtype="bfloat16").launch(pack_of(request()))()
    assert np.abs(got - want).max() <= bound


def test_an_image_is_never_cut_and_its_tokens_come_on_top() -> None:
    """A limit on length cuts the text beside an image and leaves the image whole; without truncation the document is named."""
    encoder = encoder_of(NAME)
    found = encoder.encode(QUERY, ["", " ".join(SENTENCES)], images=[None, picture(7, 1)], max_length=60)
    assert found.truncated.tolist() == [False, True]
    assert found.pair_tokens[1] == 60 + 7 * EACH + 2
    with pytest.raises(InvalidRequest, match=r"^documents\[1\] has"):
        encoder.encode(QUERY, ["", " ".join(SENTENCES)], images=[None, picture(7, 1)], max_length=60, truncate=False)
    with pytest.raises(InvalidRequest, match=r"^documents\[2\] holds"):
        encoder.encode(QUERY, ["", "", "\ud800"], images=[None, picture(1, 1), picture(1, 1)])


def test_no_text_can_pass_for_an_image() -> None:
    """Marks in a query or a document stay text: only tiles bring image tokens."""
    token = tokenizer_of(directory_of(NAME)).convert_tokens_to_ids("<IMG_CONTEXT>")
    text = "<img><IMG_CONTEXT></img>"
    assert token not in encoder_of(NAME).encode(text, [text]).sequences.ids
    found = encoder_of(NAME).encode(text, [text], images=[picture(1, 1)]).sequences
    assert (found.ids == token).sum() == EACH


@pytest.mark.parametrize("wrong", ["missing", "one more", "size"])
def test_tiles_that_do_not_match_fail_their_batch(wrong: str) -> None:
    """Tiles and the tokens that stand for them must be as many, and of the model's size."""
    pack = pack_of(some([0]))
    assert pack.tiles is not None
    pixels = {"missing": picture(1, 0), "one more": picture(2, 0), "size": np.zeros((1, 48), np.uint8)}[wrong]
    counts = np.array([{"missing": 0, "one more": 2, "size": 1}[wrong]], np.int32)
    bad = Pack(pack.ids, pack.lengths, pack.splits, pack.entry_sequences, pack.entry_scores, pack.entry_shared, Tiles(counts, pixels))
    with pytest.raises(ValueError, match="do not match"):
        scorer_of(NAME).launch(bad)


def test_a_text_model_refuses_images() -> None:
    """An encoder of a model without a vision part does not drop an image silently."""
    with pytest.raises(InvalidRequest, match="text only"):
        encoder_of("nemotron").encode(QUERY, ["a"], images=[picture(1, 1)])
    plain = encoder_of("nemotron").encode(QUERY, ["a"]).sequences
    with pytest.raises(ValueError, match="text only"):
        scorer_of("nemotron").launch(pack_of(replace(plain, tiles=Tiles(np.array([1], np.int32), picture(1, 1)))))


def changed(edit: dict[str, object] | None = None, drop: str = "") -> Path:
    """The checkpoint with another config.json, or without some tensors."""
    directory = Path(mkdtemp(prefix="checkpoint-")) / "model"
    shutil.copytree(directory_of(NAME), directory)
    raw = json.loads((directory / "config.json").read_text("utf-8"))
    (directory / "config.json").write_text(json.dumps(raw | (edit or {})), "utf-8")
    if drop:
        tensors = load_file(directory / "model.safetensors")
        save_file(
            {name: one for name, one in tensors.items() if drop not in name}, directory / "model.safetensors", metadata={"format": "pt"}
        )
    return directory


@pytest.mark.parametrize(
    "edit", [{"select_layer": -2}, {"downsample_ratio": 0.25}, {"force_image_size": 448}, {"vision_config": {"model_type": "clip"}}]
)
def test_another_vision_part_is_refused(edit: dict[str, object]) -> None:
    """A config.json that describes another computation is refused by its key before any weight is read."""
    key = next(iter(edit))
    with pytest.raises(UnsupportedModel, match=key):
        detect(changed(edit), "model")


@pytest.mark.parametrize("drop", ["post_layernorm.bias", "mlp1.3.bias"])
def test_missing_vision_weights_are_refused(drop: str) -> None:
    """No part of the vision side is ever random."""
    with pytest.raises(UnsupportedModel, match=drop):
        load_scorer(detect(changed(drop=drop), "model"), ScoringOptions(forward="transformers"))


def test_another_tokenizer_is_refused() -> None:
    """A vocabulary whose image token is not the model's would put images where nobody looks for them."""
    with pytest.raises(UnsupportedModel, match="img_context_token_id"):
        Encoder(detect(changed({"img_context_token_id": 5}), "model"))


def test_saved_without_vision_it_serves_text() -> None:
    """A checkpoint whose vision part was left out scores text as ever and takes no images."""
    directory = changed(drop="mlp1.")
    card = detect(directory, "model")
    assert card.family.pictures is None
    found = Encoder(card).encode(QUERY, DOCUMENTS).sequences
    want = scores(scorer_of(NAME), encoder_of(NAME).encode(QUERY, DOCUMENTS).sequences)
    np.testing.assert_array_equal(scores(load_scorer(card, ScoringOptions(forward="transformers")), found), want)


def test_the_checkpoint_is_of_the_real_shape() -> None:
    """The tests' checkpoint has every published tensor's name, SigLIP's unread head too."""
    names = load_file(checkpoints.nemotron_vl(Path(mkdtemp()) / "model") / "model.safetensors")
    for name in (
        "model.language_model.layers.0.self_attn.q_proj.weight",
        "model.vision_model.vision_model.head.probe",
        "model.mlp1.0.weight",
    ):
        assert name in names

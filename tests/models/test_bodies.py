"""Every model type that is run on a packed row gives there what its own eager attention gives on padded input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedConfig

from batching.errors import UnsupportedModel
from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.attention import NAME
from batching.scoring.bodies import PACKS, PADS, check_rope, packs, read_positions
from batching.scoring.forwards import run_generic
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.scoring.packed import PackedForward
from batching.scoring.padded import PaddedForward
from tests.checkpoints import DOCUMENTS, QUERY
from tests.checkpoints.encoders import write_sentence_modules
from tests.checkpoints.vocab import bert_tokenizer, xlm_roberta_tokenizer
from tests.checkpoints.weights import randomise, save
from tests.models import references
from tests.models.cases import FLOAT32, encoded, encoder_of, scale, scorer_of
from tests.models.packs import pack_of, scores

ENCODER: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64, "pad_token_id": 1,
}  # fmt: skip
MODERN = ENCODER | {"local_attention": 8, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
DECODER = ENCODER | {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}
WINDOWED = DECODER | {"head_dim": 16, "sliding_window": 6, "query_pre_attn_scalar": 16}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "albert": ("AlbertConfig", ENCODER | {"embedding_size": 16}),
    "bert": ("BertConfig", ENCODER),
    "camembert": ("CamembertConfig", ENCODER),
    "data2vec-text": ("Data2VecTextConfig", ENCODER),
    "distilbert": ("DistilBertConfig", {"vocab_size": 100, "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48, "pad_token_id": 1}),
    "electra": ("ElectraConfig", ENCODER | {"embedding_size": 16}),
    "ernie": ("ErnieConfig", ENCODER),
    "eurobert": ("EuroBertConfig", DECODER | {"mask_token_id": 4}),
    "gemma": ("GemmaConfig", DECODER | {"head_dim": 16}),
    "gemma2": ("Gemma2Config", WINDOWED | {"attn_logit_softcapping": 2.0}),
    "gemma3_text": ("Gemma3TextConfig", WINDOWED),
    "gemma3_text both sides": ("Gemma3TextConfig", WINDOWED | {"use_bidirectional_attention": True}),
    "granite": ("GraniteConfig", DECODER | {"attention_multiplier": 0.3, "residual_multiplier": 0.5, "embedding_multiplier": 3.0}),
    "gte": ("GteConfig", ENCODER),
    "jina_embeddings_v3": ("JinaEmbeddingsV3Config", ENCODER),
    "llama": ("LlamaConfig", DECODER),
    "llama both sides": ("LlamaConfig", DECODER | {"is_causal": False}),
    "ministral3": ("Ministral3Config", DECODER | {"head_dim": 16, "rope_parameters": YARN | {"llama_4_scaling_beta": 0.1}}),
    "mistral": ("MistralConfig", DECODER | {"sliding_window": 6}),
    "modernbert": ("ModernBertConfig", MODERN),
    "modernbert-decoder": ("ModernBertDecoderConfig", MODERN),
    "nomic_bert": ("NomicBertConfig", ENCODER),
    "phi3": ("Phi3Config", DECODER),
    "qwen2": ("Qwen2Config", DECODER | {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", DECODER | {"head_dim": 16}),
    "qwen3 yarn": ("Qwen3Config", DECODER | {"head_dim": 16, "rope_parameters": YARN}),
    "roberta": ("RobertaConfig", ENCODER),
    "xlm-roberta": ("XLMRobertaConfig", ENCODER),
    "xlm-roberta-xl": ("XLMRobertaXLConfig", ENCODER),
}
ROWS = [np.random.default_rng(0).integers(5, 100, length).tolist() for length in (3, 9, 9, 17, 30, 4, 9, 28, 29)]


def config_of(name: str) -> PreTrainedConfig:
    kind, fields = CONFIGS[name]
    if not hasattr(transformers, kind):
        pytest.skip(f"transformers {transformers.__version__} has no {kind}")
    return getattr(transformers, kind)(**fields)


def padded(model: Callable[..., Any]) -> torch.Tensor:
    longest = max(map(len, ROWS))
    ids, mask = torch.ones(len(ROWS), longest, dtype=torch.long), torch.zeros(len(ROWS), longest, dtype=torch.long)
    for number, row in enumerate(ROWS):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    return torch.cat([hidden[number, : len(row)] for number, row in enumerate(ROWS)])


def flat() -> tuple[np.ndarray, np.ndarray, None]:
    pack = pack_of(ROWS)
    return pack.ids, pack.lengths, None


def test_all_that_are_packed_are_tested() -> None:
    """No model type is let onto a packed row without a case below."""
    assert {name.split()[0] for name in CONFIGS} == PACKS


@pytest.mark.parametrize("name", CONFIGS)
def test_a_packed_row_equals_padded_input(name: str) -> None:
    """Hidden states of every token, whatever the windows, caps, scales and groups of the type."""
    reference = AutoModel.from_config(config_of(name), attn_implementation="eager").eval()
    randomise(reference, 3)
    want = padded(reference)
    model = AutoModel.from_config(config_of(name), attn_implementation=NAME).eval()
    model.load_state_dict(reference.state_dict())
    assert packs(type(model), model.config.model_type)
    got = run_generic(PackedForward(model, "test"), None, read_positions(model).offset, *flat())
    torch.testing.assert_close(got, want, atol=2e-5, rtol=0)
    assert float(want.std()) > 0.5


PADDED: dict[str, tuple[str, dict[str, Any]]] = {
    "deberta": ("DebertaConfig", ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "deberta-v2": ("DebertaV2Config", ENCODER),
    "deberta-v2 conv": ("DebertaV2Config", ENCODER | {"relative_attention": True, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "luke": ("LukeConfig", ENCODER | {"entity_vocab_size": 4, "entity_emb_size": 8}),
    "megatron-bert": ("MegatronBertConfig", ENCODER),
    "mpnet": ("MPNetConfig", ENCODER),
    "rembert": ("RemBertConfig", ENCODER | {"input_embedding_size": 16}),
    "roberta-prelayernorm": ("RobertaPreLayerNormConfig", ENCODER),
    "roformer": ("RoFormerConfig", ENCODER | {"embedding_size": 32}),
    "splinter": ("SplinterConfig", ENCODER),
    "xmod": ("XmodConfig", ENCODER | {"languages": ("en_XX",), "default_language": "en_XX"}),
}
MIXING: dict[str, tuple[str, dict[str, Any]]] = {
    "convbert": ("ConvBertConfig", ENCODER | {"embedding_size": 32}),
    "fnet": ("FNetConfig", ENCODER),
    "mobilebert": ("MobileBertConfig", ENCODER | {"embedding_size": 32, "true_hidden_size": 32, "intra_bottleneck_size": 32}),
    "squeezebert": ("SqueezeBertConfig", ENCODER | {"embedding_size": 32}),
}
"""Types that are packed or padded nowhere."""


def test_all_that_are_padded_are_tested() -> None:
    """No model type is let into a padded bucket without a case below."""
    assert {name.split()[0] for name in PADDED} == PADS


@pytest.mark.parametrize("name", [*PADDED, *MIXING])
def test_others_take_the_padded_way(name: str) -> None:
    """A type that is not packed gives every row what it gives it alone, and positions of RoBERTa's kind hold there too."""
    kind, fields = (PADDED | MIXING)[name]
    model = AutoModel.from_config(getattr(transformers, kind)(**fields), attn_implementation="eager").eval()
    randomise(model, 3)
    assert not packs(type(model), model.config.model_type)
    got = run_generic(PaddedForward(model), None, read_positions(model).offset, *flat())
    with torch.inference_mode():
        alone = torch.cat([model(input_ids=torch.tensor([row])).last_hidden_state[0] for row in ROWS])
    bound = 2e-5 * max(1.0, float(alone.abs().max()))
    torch.testing.assert_close(got, alone, atol=bound, rtol=0)
    if name in PADDED:
        torch.testing.assert_close(got, padded(model), atol=bound, rtol=0)


@pytest.mark.parametrize("name", ["convbert", "deberta-v2", "fnet", "squeezebert"])
def test_a_bi_encoder_over_them(tmp_path: Path, name: str) -> None:
    """Its scores are sentence-transformers' for each document alone, whatever the company and whether the class can lack a pooler."""
    kind, fields = (PADDED | MIXING)[name]
    tokenizer = bert_tokenizer(64)
    config = getattr(transformers, kind)(**(fields | {"vocab_size": len(tokenizer), "pad_token_id": 0}))
    directory = save(tmp_path / "m", AutoModel.from_config(config, attn_implementation="eager"), tokenizer, 3)
    write_sentence_modules(directory, 32, pooling="mean", normalize=True, max_length=64)
    documents = [DOCUMENTS[0], f"{DOCUMENTS[0]} fox", f"{DOCUMENTS[0]} the fox"]
    want = np.concatenate([references.sentence_encoder(directory, QUERY, [document]) for document in documents])
    card = detect(directory, "m")
    scorer = load_scorer(card, ScoringOptions(forward="transformers"))
    np.testing.assert_allclose(scores(scorer, Encoder(card).encode(QUERY, documents).sequences), want, atol=1e-5)


@pytest.mark.parametrize("name", ["data2vec-text", "deberta", "ernie", "mpnet", "nomic_bert"])
def test_a_pair_encoder_over_them(tmp_path: Path, name: str) -> None:
    """A classifier of one label whose head is BERT's, RoBERTa's or DeBERTa's, with pairs laid out as theirs."""
    kind, fields = (CONFIGS | PADDED)[name]
    if not hasattr(transformers, kind):
        pytest.skip(f"transformers {transformers.__version__} has no {kind}")
    tokenizer = xlm_roberta_tokenizer(62) if name in ("data2vec-text", "mpnet") else bert_tokenizer(64)
    fields = fields | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    model = AutoModelForSequenceClassification.from_config(getattr(transformers, kind)(**fields))
    directory = save(tmp_path / "m", model, tokenizer, 3)
    card = detect(directory, "m")
    want = references.classifier(directory, QUERY, DOCUMENTS, max_length=card.max_length)
    scorer = load_scorer(card, ScoringOptions(forward="transformers"))
    np.testing.assert_allclose(scores(scorer, Encoder(card).encode(QUERY, DOCUMENTS).sequences), want, atol=FLOAT32 * scale(want))


@pytest.mark.parametrize("rope", [{"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "longrope"}, {"full": {"rope_type": "dynamic"}}])
def test_ropes_that_depend_on_the_batch_are_refused(rope: dict[str, Any]) -> None:
    """A score must not depend on the longest sequence beside it."""
    config = SimpleNamespace(rope_parameters=rope)
    config.get_text_config = lambda: config
    with pytest.raises(UnsupportedModel, match="rope_type"):
        check_rope(encoder_of("bert").card, config)


def test_indices_beyond_the_tables_are_refused() -> None:
    """Ids outside the vocabulary, sequences beyond the position table and empty ones never reach the device."""
    scorer, request = scorer_of("bert"), encoded("bert", "a", ["b"])
    for ids, message in ((request.ids + 10_000, "vocabulary"), (np.tile(request.ids, 200), "positions")):
        lengths = np.array([len(ids)], np.int32)
        with pytest.raises(ValueError, match=message):
            scores(scorer, replace(request, ids=ids, lengths=lengths))
    with pytest.raises(ValueError, match="at least one token"):
        scores(scorer, replace(request, lengths=np.array([len(request.ids), 0], np.int32)))

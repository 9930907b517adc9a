"""The families under test: how to make a tiny checkpoint of each, and what to hold its scores against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import transformers
from transformers import XLMRobertaConfig, XLMRobertaModel

from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from batching.scoring.scorer import PackedScorer
from batching.types import Sequences
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, SENTENCES
from tests.checkpoints.encoders import write_sentence_modules
from tests.checkpoints.vocab import xlm_roberta_tokenizer
from tests.checkpoints.weights import save
from tests.models import decoders, layerwise, prompts, references
from tests.models.prompts import Prompt

FLOAT32 = 1e-5
"""Bound on |program - reference| of raw scores in float32."""
DRIFT = 2e-6
"""Bound on how far a pair's raw float32 score moves with the company it is scored in."""
PAIRS = (*DOCUMENTS, *SENTENCES, " ".join(SENTENCES[:4]))


def scale(raw: references.Raw) -> float:
    """Bounds are absolute for scores of ordinary size, and grow with larger ones."""
    return max(1.0, float(np.abs(raw).max()))


@dataclass(frozen=True)
class Case:
    """One family: `make(directory)` writes its checkpoint, `reference(directory, query, documents)` scores without the program."""

    name: str
    make: Callable[[Path], Path]
    reference: Callable[..., references.Raw]
    bfloat16: float = 0.08
    """Bound on |bfloat16 - float32| of raw scores, in units of the float32 scores' spread (max - min)."""
    recipe: str | None = None
    listwise: bool = False
    """Scores depend on the other documents by design, so company matters."""
    causal: bool = False
    """A family that sees the past only, so that documents of one request may share a prefix."""
    unshared: bool = False
    """No prefix is the same for all documents, or it can't be cut off."""


def decoder(
    name: str, make: Callable[[Path], Path], prompt: Prompt, yes: str | int, no: str | None = None, recipe: str | None = None
) -> Case:
    """A causal language model that is asked for a verdict."""
    return Case(
        name, make, partial(decoders.verdict, prompt=prompt, yes=yes, no=no), recipe=recipe or checkpoints.RECIPES.get(name), causal=True
    )


def pair_encoders() -> list[Case]:
    """Encoders with a classification head, and the module chain."""
    return [
        Case("xlm-roberta", checkpoints.xlm_roberta, references.classifier),
        Case("bert", checkpoints.bert, references.classifier),
        Case("electra", checkpoints.electra, references.classifier, 0.12),
        Case("modernbert mean", checkpoints.modernbert, references.classifier),
        Case("modernbert cls", partial(checkpoints.modernbert, pooling="cls"), references.classifier),
        Case("ettin", checkpoints.ettin, references.cross_encoder),
        Case("bert chain", checkpoints.bert_chain, references.cross_encoder),
        Case("gte", checkpoints.gte, references.classifier if hasattr(transformers, "GteConfig") else references.gte),
        Case("gte remote", checkpoints.gte_remote, references.gte),
        Case("jina-v2", checkpoints.jina_v2, partial(references.converted, make=partial(checkpoints.xlm_roberta, max_length=1024))),
        Case("deberta-v2", checkpoints.deberta, references.classifier),
        Case("albert", checkpoints.albert, references.classifier),
        Case("distilbert", checkpoints.distilbert, references.classifier),
    ]


def roberta_bi_encoder(directory: Path) -> Path:
    """A sentence encoder over XLM-RoBERTa (bge-m3, multilingual-e5): positions begin behind the padding token's row here too."""
    tokenizer = xlm_roberta_tokenizer(128)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, type_vocab_size=1,
        max_position_embeddings=130, pad_token_id=1,
    )  # fmt: skip
    save(directory, XLMRobertaModel(config), tokenizer, 0)
    write_sentence_modules(directory, 32, pooling="mean", normalize=True, max_length=128)
    return directory


def embedders() -> list[Case]:
    """Query and documents alone."""
    prompts_set = {"query": "query: ", "document": "passage: "}
    return [
        Case("bi-encoder mean", checkpoints.bi_encoder, references.sentence_encoder),
        Case("bi-encoder cls", partial(checkpoints.bi_encoder, pooling="cls"), references.sentence_encoder),
        Case("bi-encoder last", partial(checkpoints.bi_encoder, pooling="lasttoken"), references.sentence_encoder),
        Case("bi-encoder prompts", partial(checkpoints.bi_encoder, prompts=prompts_set), references.sentence_encoder),
        Case("bi-encoder roberta", roberta_bi_encoder, references.sentence_encoder),
        Case("colbert", checkpoints.colbert, references.late_interaction),
        Case("colbert attended", partial(checkpoints.colbert, attend=True), references.late_interaction),
        Case("colbert unexpanded", partial(checkpoints.modern_colbert, do_query_expansion=False), references.late_interaction),
        Case("colbert modernbert", checkpoints.modern_colbert, references.late_interaction),
    ]


def language_models() -> list[Case]:
    """Prompted decoders and the listwise one."""
    own_head = partial(checkpoints.qwen3, tied=False)
    return [
        decoder("qwen3", checkpoints.qwen3, prompts.qwen3, "yes", "no"),
        decoder("qwen3 untied", own_head, prompts.qwen3, "yes", "no", checkpoints.RECIPES["qwen3"]),
        Case("qwen3 classifier", checkpoints.qwen3_classifier, partial(decoders.classified, prompt=prompts.qwen3), causal=True),
        decoder("qwen3 logit score", checkpoints.qwen3_logit_score, prompts.qwen3, "yes", "no"),
        decoder("mxbai_v2", checkpoints.mxbai_v2, prompts.mxbai, "1", "0"),
        Case("mxbai labels", checkpoints.mxbai_labels, partial(decoders.classified, prompt=prompts.mxbai), causal=True),
        decoder("bge_gemma", checkpoints.bge_gemma, prompts.bge, "Yes"),
        decoder("zerank", checkpoints.zerank, prompts.zerank, "Yes"),
        replace(decoder("ctxl", checkpoints.ctxl, prompts.ctxl, 0), unshared=True),
        Case("layerwise", layerwise.make, decoders.layerwise, causal=True),
        Case("nemotron", checkpoints.nemotron, decoders.nemotron),
        Case("nemotron vl text", checkpoints.nemotron_vl, decoders.nemotron),
        Case("jina-v3", checkpoints.jina_v3, decoders.jina_v3, listwise=True),
    ]


def full_registers() -> list[Case]:
    """Encoders whose heads and widths are multiples of 16, as real ones' are: what our own C serves."""
    return [
        Case("xlm-roberta of 16", partial(checkpoints.xlm_roberta, heads=2), references.classifier),
        Case("bert of 16", partial(checkpoints.bert, heads=2), references.classifier),
        Case("electra of 16", partial(checkpoints.electra, heads=2), references.classifier, 0.12),
        Case("bi-encoder of 16", partial(checkpoints.bi_encoder, heads=2), references.sentence_encoder),
    ]


CASES: dict[str, Case] = {case.name: case for case in (*pair_encoders(), *embedders(), *language_models())}
FULL: dict[str, Case] = {case.name: case for case in full_registers()}


def case_of(name: str) -> Case:
    """One of all."""
    return CASES[name] if name in CASES else FULL[name]


@cache
def directory_of(name: str) -> Path:
    """The case's checkpoint, made once per process."""
    return case_of(name).make(Path(mkdtemp(prefix="checkpoint-")) / "model")


@cache
def encoder_of(name: str) -> Encoder:
    """The program's tokenizing for the case's checkpoint."""
    return Encoder(detect(directory_of(name), name, case_of(name).recipe))


@cache
def scorer_of(name: str, **options: Any) -> PackedScorer:
    """The program's scorer for the case's checkpoint, on the CPU and the model's own modules unless told otherwise."""
    return load_scorer(encoder_of(name).card, ScoringOptions(**({"forward": "transformers"} | options)))


@cache
def reference_of(name: str, query: str, documents: tuple[str, ...]) -> references.Raw:
    """The reference's raw scores, float32."""
    return case_of(name).reference(directory_of(name), query, documents)


def encoded(name: str, query: str, documents: Sequence[str], **options: Any) -> Sequences:
    """One request in tokens."""
    return encoder_of(name).encode(query, documents, **options).sequences

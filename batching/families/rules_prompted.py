"""Rules for language models that are asked for a score: which prompt a checkpoint was trained with.

Their config.json says nothing about it: Qwen3-Reranker's is that of any Qwen3. What tells them apart is the chat template that newer
releases carry, the name, or RERANKER_RECIPE; without any of these the start is refused, since a wrong prompt gives scores that only
look right.
"""

from __future__ import annotations

from msgspec.structs import replace

from batching.errors import UnsupportedModel
from batching.families import bge_decoders, ctxl, mxbai, qwen3, zerank
from batching.families.base import Family
from batching.families.facts import Facts, count_labels

DECODERS = frozenset({"qwen2", "qwen3", "llama", "mistral", "gemma", "gemma2", "gemma3_text", "phi3", "minicpm", "granite", "ministral3"})
CTXL_ROW = 0
"""The vocabulary id whose logit is ctxl's score."""

BY_NAME: tuple[tuple[str, str, Family], ...] = (
    ("qwen3-reranker", "qwen3", qwen3.FAMILY),
    ("zerank", "qwen3", zerank.FAMILY),
    ("ctxl-rerank", "", ctxl.FAMILY),
    ("mxbai-rerank", "qwen2", mxbai.FAMILY),
    ("bge-reranker-v2-gemma", "gemma", bge_decoders.GEMMA),
)
"""Part of a name, model_type ("": any), family."""
BY_TEMPLATE: tuple[tuple[str, Family], ...] = (
    (qwen3.FINGERPRINT, qwen3.FAMILY),
    (mxbai.FINGERPRINT, mxbai.FAMILY),
    (ctxl.FINGERPRINT, ctxl.FAMILY),
)
CLASSIFIERS: dict[str, Family] = {qwen3.FAMILY.name: qwen3.CLASSIFIER, mxbai.FAMILY.name: mxbai.CLASSIFIER}
VERDICTS: dict[str, tuple[str, str]] = {qwen3.CLASSIFIER.name: ("yes", "no"), mxbai.CLASSIFIER.name: ("1", "0")}
"""The names of two labels, the better first."""
BY_TYPE: dict[str, Family] = {"qwen3": qwen3.CLASSIFIER, "qwen2": mxbai.CLASSIFIER}
"""One-label classifiers of unknown name and template: the conversions that are published."""


def layerwise(facts: Facts) -> Family | None:
    """bge-reranker-v2-minicpm-layerwise; the related gemma2-lightweight is refused."""
    if facts.model_type == "cost_wise_gemma" or facts.architecture.startswith("CostWiseGemma"):
        raise UnsupportedModel(
            f"{facts.root} is a bge-reranker-v2.5-gemma2-lightweight, which needs remote code; use BAAI/bge-reranker-v2-gemma or -v2-m3"
        )
    minicpm = facts.architecture == "LayerWiseMiniCPMForCausalLM" or (facts.model_type == "minicpm" and "start_layer" in facts.config)
    return bge_decoders.LAYERWISE if minicpm else None


def prompted(facts: Facts) -> Family | None:
    """A language model, or its one-label classifier, with the prompt that its template, name or type stands for."""
    classifies = facts.architecture.endswith("ForSequenceClassification")
    if facts.model_type not in DECODERS or not (classifies or facts.architecture.endswith("ForCausalLM")):
        return None
    found = by_template(facts) or by_name(facts)
    if classifies:
        family = CLASSIFIERS.get(found.name) if found else BY_TYPE.get(facts.model_type)
        if family is None:
            raise UnsupportedModel(ask_for_recipe(facts))
        return complete(with_labels(family, facts), facts)
    if found is None:
        raise UnsupportedModel(ask_for_recipe(facts))
    return complete(found, facts)


def as_told(family: Family, facts: Facts) -> Family:
    """A family that the operator named, in the form that fits the checkpoint's class."""
    if facts.architecture.endswith("ForSequenceClassification"):
        family = with_labels(CLASSIFIERS.get(family.name, family), facts)
    return complete(family, facts)


def with_labels(family: Family, facts: Facts) -> Family:
    """`family` for a conversion that kept the two verdicts as two labels, where id2label names them as the prompt does.

    michaelfeil's mxbai-rerank-*-v2-seq has "0" and "1", his Qwen3-Reranker-*-seq "no" and "yes". Names that say nothing (LABEL_0) are
    refused, since the order can't be told.
    """
    if count_labels(facts) != 2:
        return family
    names = {str(name).lower(): int(number) for number, name in (facts.config.get("id2label") or {}).items()}
    yes, no = VERDICTS[family.name]
    if set(names) != {yes, no}:
        raise UnsupportedModel(
            f"{facts.root} classifies into 2 labels called {', '.join(names) or 'nothing'} (id2label in config.json) where "
            f"{family.name} has 1, or {no} and {yes}; use a reranker"
        )
    return replace(family, labels=(names[yes], names[no]))


def by_template(facts: Facts) -> Family | None:
    """The family whose prompt stands in the checkpoint's chat template; a template for rerankers that is not known here is refused."""
    template = facts.chat_template
    family = next((family for mark, family in BY_TEMPLATE if mark in template), None)
    if family is None and '"document"' in template.replace("'", '"') and by_name(facts) is None:
        raise UnsupportedModel(f"{facts.root} has a reranking chat template of its own, which is not known here; {ask_for_recipe(facts)}")
    return family


def by_name(facts: Facts) -> Family | None:
    """The family that the checkpoint's name stands for."""
    return next((family for part, kind, family in BY_NAME if facts.is_named(part) and kind in ("", facts.model_type)), None)


def complete(family: Family, facts: Facts) -> Family:
    """Fill in what a family leaves to the checkpoint: the tokens of its score, mxbai's shift, which its conversions share."""
    if family.name in (mxbai.FAMILY.name, mxbai.CLASSIFIER.name) and facts.config.get("hidden_size") == mxbai.BASE_HIDDEN_SIZE:
        family = replace(family, shift=mxbai.BASE_SHIFT)
    if family.name == zerank.FAMILY.name and facts.is_named("zerank-1"):
        family = replace(family, instructed_text=None)
    scores = facts.module("LogitScore")
    if scores:
        return replace(family, yes=named(facts, scores["true_token_id"]), no=named(facts, scores.get("false_token_id")))
    return replace(family, yes=named(facts, CTXL_ROW)) if family.name == ctxl.FAMILY.name else family


def named(facts: Facts, number: int | None) -> str | None:
    """The token with this id; raises UnsupportedModel when there is none."""
    if number is None:
        return None
    found = next((token for token, place in facts.tokens.items() if place == number), None)
    if found is None:
        raise UnsupportedModel(f"{facts.folder}/tokenizer.json has no token {number}, from which the score is read")
    return found


def ask_for_recipe(facts: Facts) -> str:
    """One line: the files do not say which prompt this model was trained with."""
    known = ", ".join(sorted({family.name for _, _, family in BY_NAME}))
    return (
        f"{facts.root} ({facts.architecture}) does not say which reranking prompt it was trained with, or is no reranker; "
        f"name it with RERANKER_RECIPE ({known})"
    )

"""Which family a checkpoint belongs to: an ordered list of rules over its files; the first that answers wins.

A rule gives the checkpoint's own copy of a family, or None when it is not concerned; it raises UnsupportedModel for a checkpoint that it
recognises and that can't be served, since loading it as something else would give wrong scores without an error.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from batching.errors import SettingError, UnsupportedModel
from batching.families import bert, bge_decoders, bi_encoder, colbert, encoders, jina_v3, modernbert, nemotron, xlm_roberta
from batching.families.base import Family
from batching.families.facts import Facts
from batching.families.pictures import read_pictures
from batching.families.rules_pooled import late_interaction, module_chain, sentence_encoder
from batching.families.rules_prompted import BY_NAME, CLASSIFIERS, as_told, layerwise, prompted

Rule = Callable[[Facts], Family | None]

FOREIGN: dict[str, str] = {
    "JinaVL": "is a jina-reranker-m0, which reads images with code of its own and is not supported; use jinaai/jina-reranker-v3",
    "Qwen3VL": "is a reranker for images, which is not supported; use Qwen/Qwen3-Reranker of the same size",
    "Nemotron3": "needs remote code; use nvidia/llama-nemotron-rerank-1b-v2",
}
"""Beginnings of class names that are recognised and not served, and why."""


def refuse_foreign_code(facts: Facts) -> Family | None:
    """Checkpoints that look like a known class and are not."""
    if facts.config.get("position_embedding_type") == "alibi":
        raise UnsupportedModel(
            f"{facts.root} is a JinaBERT (ALiBi positions, as in jina-reranker-v1 and jina-embeddings-v2), which is not supported; "
            "use jinaai/jina-reranker-v2-base-multilingual or BAAI/bge-reranker-v2-m3"
        )
    foreign = next((name for name in FOREIGN if facts.architecture.startswith(name)), None)
    if foreign is not None:
        raise UnsupportedModel(f"{facts.root} ({facts.architecture}) {FOREIGN[foreign]}")
    return None


def jina_v2(facts: Facts) -> Family | None:
    """jina-reranker-v2: XLM-RoBERTa by name, published with code of its own."""
    flash = "XLMRobertaFlashConfig" in str(facts.config.get("auto_map"))
    return encoders.JINA_V2 if flash and facts.architecture.endswith("ForSequenceClassification") else None


def modern_bert(facts: Facts) -> Family | None:
    """ModernBERT, whose config.json names the pooling."""
    if facts.architecture not in modernbert.FAMILY.architectures:
        return None
    pooling = str(facts.config.get("classifier_pooling") or "cls")
    if pooling not in ("cls", "mean"):
        raise UnsupportedModel(f"{facts.root} pools by {pooling} (classifier_pooling in config.json); cls and mean are supported")
    return replace(modernbert.FAMILY, read="mean" if pooling == "mean" else "first")


def vision_language(facts: Facts) -> Family | None:
    """nvidia's reranker for text and images; text alone where the vision part was not saved with it."""
    if facts.architecture not in nemotron.VISION.architectures or nemotron.VISION.pictures is None:
        return None
    return replace(nemotron.VISION, pictures=read_pictures(facts, nemotron.VISION.pictures))


def listwise(facts: Facts) -> Family | None:
    """jina-reranker-v3, and v3.5, which reads longer text and says so by its sliding layers or its name."""
    if facts.architecture not in jina_v3.FAMILY.architectures:
        return None
    slides = "sliding_attention" in (facts.config.get("layer_types") or ())
    return jina_v3.V3_5 if slides or facts.is_named("v3.5") else jina_v3.FAMILY


def by_architecture(facts: Facts) -> Family | None:
    """A class name that one family claims."""
    return next((family for family in BY_ARCHITECTURE if facts.architecture in family.architectures), None)


def refuse_headless(facts: Facts) -> Family | None:
    """Checkpoints without a ranking head, said by name."""
    architecture = facts.architecture or f"a model of type {facts.model_type or 'unknown'}"
    if architecture.endswith(("ForMaskedLM", "ForPreTraining", "ForCausalLM")):
        what = "is a language model without a ranking head"
    elif architecture.endswith("Model"):
        what = "is a bare encoder without a ranking head, and has no modules.json that would make it a bi-encoder"
    else:
        what = "belongs to no family that is known here"
    raise UnsupportedModel(f"{facts.root} ({architecture}) {what}; use a reranker such as BAAI/bge-reranker-v2-m3")


def check_recipe(recipe: str | None) -> None:
    """Raise SettingError for a recipe that names no family."""
    if recipe is not None and recipe not in FAMILIES:
        raise SettingError(f"RERANKER_RECIPE={recipe} is not a known family; known are {', '.join(sorted(FAMILIES))}")


def choose(facts: Facts, recipe: str | None) -> Family:
    """The recipe's family, with what the checkpoint's files add to it, or the first that a rule gives; raises UnsupportedModel."""
    check_recipe(recipe)
    if recipe is not None and any(FAMILIES[recipe] is family for _, _, family in BY_NAME):
        return as_told(FAMILIES[recipe], facts)
    try:
        family = next(family for family in (rule(facts) for rule in RULES) if family is not None)
    except UnsupportedModel:
        if recipe is None:
            raise
        return FAMILIES[recipe]
    return FAMILIES[recipe] if recipe not in (None, family.name) else family


BY_ARCHITECTURE: tuple[Family, ...] = (
    xlm_roberta.FAMILY,
    bert.FAMILY,
    bert.ELECTRA,
    encoders.GTE,
    encoders.DEBERTA,
    encoders.ALBERT,
    encoders.DISTILBERT,
    nemotron.FAMILY,
    jina_v3.FAMILY,
)

RULES: tuple[Rule, ...] = (
    refuse_foreign_code,
    jina_v2,
    layerwise,
    module_chain,
    late_interaction,
    sentence_encoder,
    modern_bert,
    vision_language,
    listwise,
    by_architecture,
    prompted,
    refuse_headless,
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        *BY_ARCHITECTURE,
        bi_encoder.FAMILY,
        colbert.FAMILY,
        modernbert.FAMILY,
        modernbert.CHAIN,
        encoders.JINA_V2,
        bge_decoders.LAYERWISE,
        *(family for _, _, family in BY_NAME),
        *CLASSIFIERS.values(),
    )
}
"""All families by name, for RERANKER_RECIPE."""

"""Which family a checkpoint belongs to: an ordered list of rules over its files; the first that answers wins.

A rule gives the checkpoint's own copy of a family, or None when it is not concerned; it raises UnsupportedModel for a checkpoint that it
recognises and that can't be served, since loading it as something else would give wrong scores without an error.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from batching.errors import UnsupportedModel
from batching.families import bert, bi_encoder, xlm_roberta
from batching.families.base import Family, Piece, Read
from batching.families.facts import Facts

Rule = Callable[[Facts], Family | None]

POOLINGS: dict[str, Read] = {"cls": "first", "mean": "mean", "lasttoken": "last"}
"""sentence-transformers' pooling modes that are served, and the rows that they read."""


def refuse_foreign_code(facts: Facts) -> Family | None:
    """Checkpoints that look like a known class and are not."""
    if facts.config.get("position_embedding_type") == "alibi":
        raise UnsupportedModel(
            f"{facts.root} is a JinaBERT (ALiBi positions, as in jina-reranker-v1 and jina-embeddings-v2), which is not supported; "
            "use jinaai/jina-reranker-v2-base-multilingual or BAAI/bge-reranker-v2-m3"
        )
    return None


def sentence_encoder(facts: Facts) -> Family | None:
    """modules.json of a Transformer, a Pooling and perhaps a Normalize: a bi-encoder."""
    if "Pooling" not in facts.kinds:
        return None
    extra = [kind for kind in facts.kinds if kind not in ("Transformer", "Pooling", "Normalize", "Dropout")]
    if extra:
        raise UnsupportedModel(
            f"{facts.root}/modules.json holds {', '.join(extra)}, which a bi-encoder is not served with; use a reranker or another embedder"
        )
    query, document = read_prompts(facts)
    similarity = facts.sentence.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise UnsupportedModel(f"{facts.root} compares by {similarity} (config_sentence_transformers.json); cosine and dot are supported")
    dot = similarity == "dot" and "Normalize" not in facts.kinds
    return replace(
        bi_encoder.FAMILY,
        layout=(Piece(f"{document}{{document}}"),),
        query_layout=(Piece(f"{query}{{query}}"),),
        read=read_pooling(facts),
        head="dot" if dot else "cosine",
        activation="identity" if dot else "cosine",
    )


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


def read_pooling(facts: Facts) -> Read:
    """The rows that the Pooling module reads; raises UnsupportedModel for modes that are not served."""
    config = facts.module("Pooling")
    mode = config.get("pooling_mode")
    if mode is None:
        mode = [name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_mode_") and on]
        mode = [name.removesuffix("_tokens").removesuffix("_token") for name in mode] or ["mean"]
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UnsupportedModel(f"{facts.root} pools by {', '.join(modes)} (1_Pooling/config.json); supported: {', '.join(POOLINGS)}")
    if config.get("include_prompt") is False and any(read_prompts(facts)):
        raise UnsupportedModel(f"{facts.root} leaves its prompt out of the pooling (include_prompt false), which is not supported")
    return POOLINGS[modes[0]]


def read_prompts(facts: Facts) -> tuple[str, str]:
    """The prompts before a query and a document, as sentence-transformers' encode_query and encode_document choose them."""
    prompts = {name: str(text) for name, text in (facts.sentence.get("prompts") or {}).items() if text}
    default = prompts.get(facts.sentence.get("default_prompt_name") or "", "")
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), default)
    return prompts.get("query", default), document


BY_ARCHITECTURE: tuple[Family, ...] = (xlm_roberta.FAMILY, bert.FAMILY, bert.ELECTRA)

RULES: tuple[Rule, ...] = (refuse_foreign_code, sentence_encoder, by_architecture, refuse_headless)

FAMILIES: dict[str, Family] = {family.name: family for family in (*BY_ARCHITECTURE, bi_encoder.FAMILY)}
"""All families by name, for RERANKER_RECIPE."""
